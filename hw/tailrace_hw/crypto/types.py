"""What the parts of the cipher engine say to each other, and what it says to its users.

A 128-bit block, key, tag or counter has its byte 0 in bits 7:0, as packet streams do.
"""

from amaranth.lib import data, enum

__all__ = [
    "GROUP",
    "MAX_AAD",
    "MAX_LENGTH",
    "ROUNDS",
    "SELF_TEST_FUNCTION",
    "STAGES",
    "TAG_LENGTHS",
    "AesBlock",
    "JobParameters",
    "KeyAction",
    "KeyCommand",
    "KeyKind",
    "KeySize",
    "KeyStatus",
    "Operation",
    "OutputMeta",
    "Result",
    "SelfTestFault",
    "Status",
    "self_test_rows",
]

#: Bytes of additional authenticated data and of payload that a packet may have.
MAX_AAD, MAX_LENGTH = 96, 16384
#: What the self-test calls itself where functions are named. No PCIe function has this number.
SELF_TEST_FUNCTION = 0xFF
#: Rows of the key table that an XTS key takes: Key1, Key2, Key1 for decryption, one unused.
GROUP = 4
#: Tag lengths in bytes (SP 800-38D, 5.2.1.2).
TAG_LENGTHS = (4, 8, 12, 13, 14, 15, 16)


def self_test_rows(*, xts: bool) -> int:
    """Rows at the end of the key table that are the self-test's: those of one key of its kinds."""
    return GROUP if xts else 1


class Operation(enum.Enum, shape=2):
    """What is done to a packet. XTS works on one data unit a packet (IEEE 1619)."""

    GCM_ENCRYPT = 0
    GCM_DECRYPT = 1
    XTS_ENCRYPT = 2
    XTS_DECRYPT = 3


class KeySize(enum.Enum, shape=2):
    """FIPS 197, figure 4."""

    AES_128 = 0
    AES_192 = 1
    AES_256 = 2


#: Rounds of a key size (FIPS 197, figure 4).
ROUNDS = {KeySize.AES_128: 10, KeySize.AES_192: 12, KeySize.AES_256: 14}
#: Stages of a lane: the whitening, then one a round of the longest key.
STAGES = 15


class KeyKind(enum.Enum, shape=1):
    """What a key may be used for."""

    GCM = 0
    XTS = 1


class AesBlock(data.Struct):
    """One block on its way into a lane."""

    block: 128
    size: KeySize
    #: The inverse cipher; only where the lane has it.
    decrypt: 1


class JobParameters(data.Struct):
    """Metadata of a packet on its way into the engine, constant for the whole packet."""

    operation: Operation
    #: Index in the key table.
    key: 16
    #: PCIe function that asks; the key must be its own.
    function: 8
    #: Chosen by whoever asks, comes back with the result.
    job: 16
    #: GCM: the 96-bit IV in bits 95:0, or with ``j0`` the whole pre-counter block J0 (SP 800-38D,
    #: 7.1, step 2). XTS: the tweak, the data unit's number in little-endian bytes (IEEE 1619, 5.1).
    iv: 128
    j0: 1
    #: GCM: additional authenticated data, byte 0 in bits 7:0, and its length in bytes.
    aad: 8 * MAX_AAD
    aad_length: 7
    #: Bytes of payload. With 0 the packet is one beat whose data are not looked at.
    length: 15
    #: GCM_DECRYPT: the tag that came with the packet; bytes behind ``tag_length`` don't count.
    tag: 128
    #: GCM: bytes of the tag.
    tag_length: 5


class Status(enum.Enum, shape=4):
    """How a packet ended."""

    OK = 0
    #: The tag is not that of this packet: nothing of it has left.
    AUTHENTICATION_FAILED = 1
    #: No such key, or a key of another function: the asker is not told which.
    KEY_UNKNOWN = 2
    #: The key is for the other of GCM and XTS.
    KEY_KIND = 3
    #: Not a tag length of :data:`TAG_LENGTHS`.
    TAG_LENGTH = 4
    #: More than :data:`MAX_AAD` bytes of additional authenticated data.
    AAD_LENGTH = 5
    #: The packet has another length than it says, more than :data:`MAX_LENGTH`, or with XTS less
    #: than a block.
    LENGTH = 6
    #: The key is strict, and the IV is not above the last one that it encrypted with.
    IV_REUSED = 7
    #: The known-answer test has failed: the engine does no work.
    SELF_TEST = 8


class OutputMeta(data.Struct):
    """Metadata of a packet that leaves the engine."""

    function: 8
    job: 16


class Result(data.Struct):
    """End of a packet: one for each that entered, in order."""

    status: Status
    function: 8
    job: 16
    key: 16
    #: GCM_ENCRYPT that ended OK: the tag, bytes behind its length 0. Otherwise 0.
    tag: 128


class KeyAction(enum.Enum, shape=2):
    """What is asked of the key table."""

    INSTALL = 0
    #: Forget one key of a function.
    DELETE = 1
    #: Forget every key of a function.
    DELETE_ALL = 2


class KeyCommand(data.Struct):
    """One request to the key table."""

    action: KeyAction
    #: Function that asks; only it may use, replace or delete the key.
    function: 8
    #: Index; an XTS key's is a multiple of 4, and it takes the three behind it as well.
    key: 16
    kind: KeyKind
    size: KeySize
    #: GCM: an IV that is not above the last one encrypted with, as a big-endian number, is refused.
    strict: 1
    #: The key, byte 0 in bits 7:0. XTS: Key1 (IEEE 1619, 5.1).
    material: 256
    #: XTS: Key2, for the tweak.
    tweak_material: 256


class KeyStatus(enum.Enum, shape=3):
    """How a request to the key table ended."""

    OK = 0
    #: The index is out of range, or not a multiple of 4 for XTS.
    INDEX = 1
    #: The key, or one of those that an XTS key would take, belongs to another function or key.
    TAKEN = 2
    #: Nothing there to delete that is the asker's.
    UNKNOWN = 3
    #: No such key size, or XTS with AES-192, which IEEE 1619 does not have.
    SIZE = 4


class SelfTestFault(data.Struct):
    """Faults that the engine makes on purpose, with the self-test's own keys only."""

    #: Bit 0 of each round key is wrong.
    round_key: 1
    #: Bit 0 of each power of H is wrong.
    hash_key: 1
