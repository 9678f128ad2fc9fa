"""Golden model of the cipher engine: keys and jobs in, packets and results out.

Numbers are those of the engine's interface, but written down here again: the model imports no
gateware. Keys, tags, IVs and tweaks are bytes in the order of the specifications.
"""

import enum
from dataclasses import dataclass

from tailrace_sim.models.ciphers import gcm_decrypt, gcm_encrypt, j0_of, xts

__all__ = [
    "MAX_AAD",
    "MAX_LENGTH",
    "TAG_LENGTHS",
    "Engine",
    "Job",
    "KeyAction",
    "KeyCommand",
    "KeyKind",
    "KeySize",
    "KeyStatus",
    "Operation",
    "Outcome",
    "Result",
    "Status",
]

#: Bytes of additional authenticated data and of payload that a packet may have.
MAX_AAD, MAX_LENGTH = 96, 16384
#: Tag lengths in bytes: SP 800-38D, 5.2.1.2.
TAG_LENGTHS = (4, 8, 12, 13, 14, 15, 16)
#: An XTS key takes as many places of the table, from a multiple of it on.
XTS_PLACES = 4


class Operation(enum.IntEnum):
    """What is done to a packet."""

    GCM_ENCRYPT = 0
    GCM_DECRYPT = 1
    XTS_ENCRYPT = 2
    XTS_DECRYPT = 3

    @property
    def kind(self) -> "KeyKind":
        """The key that it needs."""
        return KeyKind.XTS if self >= Operation.XTS_ENCRYPT else KeyKind.GCM


class KeySize(enum.IntEnum):
    """AES-128, -192, -256."""

    AES_128 = 0
    AES_192 = 1
    AES_256 = 2

    @property
    def bytes(self) -> int:
        """Length of a key."""
        return 16 + 8 * self


class KeyKind(enum.IntEnum):
    """What a key may be used for."""

    GCM = 0
    XTS = 1


class Status(enum.IntEnum):
    """How a packet ended."""

    OK = 0
    AUTHENTICATION_FAILED = 1
    KEY_UNKNOWN = 2
    KEY_KIND = 3
    TAG_LENGTH = 4
    AAD_LENGTH = 5
    LENGTH = 6
    IV_REUSED = 7
    SELF_TEST = 8


class KeyAction(enum.IntEnum):
    """What is asked of the key table."""

    INSTALL = 0
    DELETE = 1
    DELETE_ALL = 2


class KeyStatus(enum.IntEnum):
    """How a request to the key table ended."""

    OK = 0
    INDEX = 1
    TAKEN = 2
    UNKNOWN = 3
    SIZE = 4


@dataclass
class KeyCommand:
    """A request to the key table; see ``KeyCommand`` of the gateware.

    ``material`` and ``tweak_material`` have the length of ``size``.
    """

    action: KeyAction
    function: int
    key: int = 0
    kind: KeyKind = KeyKind.GCM
    size: KeySize = KeySize.AES_128
    strict: bool = False
    material: bytes = b""
    tweak_material: bytes = b""


@dataclass
class Job:
    """A packet and its parameters; see ``JobParameters`` of the gateware.

    Attributes
    ----------
    payload : as it comes; b"" and ``length`` 0 for a packet without
    iv : 12 bytes; with ``j0`` 16, and with XTS 16, the data unit's number in little endian
    length, aad_length : as the packet says; -1 stands for what it has
    aad, tag : as far as they are not zeros; at most 96 and 16 bytes
    """

    operation: Operation
    key: int
    payload: bytes = b""
    function: int = 0
    job: int = 0
    iv: bytes = bytes(12)
    j0: bool = False
    aad: bytes = b""
    aad_length: int = -1
    length: int = -1
    tag: bytes = b""
    tag_length: int = 16

    def __post_init__(self):
        if self.aad_length < 0:
            self.aad_length = len(self.aad)
        if self.length < 0:
            self.length = len(self.payload)
        wanted = 16 if self.j0 or self.operation.kind == KeyKind.XTS else 12
        if len(self.iv) != wanted:
            raise ValueError(f"the IV must have {wanted} bytes, not {len(self.iv)}")


@dataclass(frozen=True)
class Result:
    """End of a packet; see ``Result`` of the gateware."""

    status: Status
    function: int
    job: int
    key: int
    tag: bytes = bytes(16)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a job.

    Attributes
    ----------
    output : the packet that leaves, b"" for one without payload; None if nothing leaves
    result : the end of it
    limit : None, or bytes that may have left at most, and nobody knows which: encryption and XTS do
        not wait for the packet's end, so one that turns out to have another length than it says
        has partly left. ``output`` is None then.
    """

    output: bytes | None
    result: Result
    limit: int | None = None


@dataclass
class _Key:
    owner: int
    kind: KeyKind
    strict: bool
    material: bytes
    last_iv: int = -1

    @property
    def places(self) -> int:
        return XTS_PLACES if self.kind == KeyKind.XTS else 1


class Engine:
    """The engine: jobs are worked off in order, each with the keys as they are at that moment.

    A refused packet gives no output. One with several faults ends with the first of
    ``SELF_TEST``; ``LENGTH`` (more than :data:`MAX_LENGTH`, or XTS with less than a block); for
    GCM ``AAD_LENGTH`` and ``TAG_LENGTH``; ``KEY_UNKNOWN``; ``KEY_KIND``; ``IV_REUSED``; and at its
    end ``LENGTH``; ``AUTHENTICATION_FAILED``.

    A strict key refuses to encrypt with an IV that is not above the last one that it took, as a
    big-endian number, and with any J0. Its first IV may be 0. An IV is taken once none of the
    faults before the packet's end is there: what ends with ``LENGTH`` has used it up. Decryption
    takes none.

    Parameters
    ----------
    keys : places in the key table
    beat : bytes of a beat; a packet that says length 0 may have as many, and they are not looked at

    Attributes
    ----------
    self_test_failed : the engine refuses everything
    """

    def __init__(self, keys: int = 1024, beat: int = 64):
        self._size = keys
        self._beat = beat
        self._keys: dict[int, _Key] = {}
        self.self_test_failed = False

    def reset(self) -> None:
        """Forget every key."""
        self._keys.clear()

    def command(self, command: KeyCommand) -> KeyStatus:
        """A request to the key table.

        A key may be replaced at its own index, by one of the other kind too. A place inside an XTS
        key is that key's: it can neither be used, taken nor deleted by its own index. To delete all
        is never wrong.
        """
        if command.action == KeyAction.DELETE_ALL:
            mine = [index for index, key in self._keys.items() if key.owner == command.function]
            for index in mine:
                del self._keys[index]
            return KeyStatus.OK
        if command.action == KeyAction.DELETE:
            if command.key >= self._size:
                return KeyStatus.INDEX
            if self._own(command.function, command.key) is None:
                return KeyStatus.UNKNOWN
            del self._keys[command.key]
            return KeyStatus.OK
        return self._install(command)

    def _install(self, command: KeyCommand) -> KeyStatus:
        is_xts = command.kind == KeyKind.XTS
        for material in (command.material, *([command.tweak_material] if is_xts else [])):
            if len(material) != command.size.bytes:
                raise ValueError(f"{command.size.name} has {command.size.bytes} bytes of key")
        material = command.material + (command.tweak_material if is_xts else b"")
        key = _Key(command.function, command.kind, command.strict, material)
        first, places = command.key, key.places
        if first % places or first + places > self._size:
            return KeyStatus.INDEX
        if is_xts and command.size == KeySize.AES_192:
            return KeyStatus.SIZE
        for index, other in self._keys.items():
            meets = index < first + places and first < index + other.places
            if meets and (index != first or other.owner != command.function):
                return KeyStatus.TAKEN
        self._keys[first] = key
        return KeyStatus.OK

    def _own(self, function: int, index: int) -> _Key | None:
        key = self._keys.get(index)
        return key if key is not None and key.owner == function else None

    def work(self, job: Job) -> Outcome:
        """Do a job."""
        status, key = self._check(job)
        if key is None:
            return self._end(job, status)
        if job.operation == Operation.GCM_ENCRYPT and not job.j0:
            key.last_iv = int.from_bytes(job.iv, "big")
        nothing = job.length == 0 and len(job.payload) <= self._beat
        payload = b"" if nothing else job.payload
        if len(payload) != job.length:
            held = job.operation == Operation.GCM_DECRYPT
            return self._end(job, Status.LENGTH, limit=None if held else job.length)
        if key.kind == KeyKind.XTS:
            encrypt = job.operation == Operation.XTS_ENCRYPT
            return self._end(job, Status.OK, xts(key.material, job.iv, payload, encrypt=encrypt))
        j0 = job.iv if job.j0 else j0_of(key.material, job.iv)
        aad = job.aad.ljust(MAX_AAD, b"\0")[: job.aad_length]
        if job.operation == Operation.GCM_ENCRYPT:
            output, tag = gcm_encrypt(key.material, j0, aad, payload)
            return self._end(job, Status.OK, output, tag[: job.tag_length].ljust(16, b"\0"))
        wanted = job.tag.ljust(16, b"\0")[: job.tag_length]
        plaintext = gcm_decrypt(key.material, j0, aad, payload, wanted)
        if plaintext is None:
            return self._end(job, Status.AUTHENTICATION_FAILED)
        return self._end(job, Status.OK, plaintext)

    def _check(self, job: Job) -> tuple[Status, _Key | None]:
        """What can be said before the payload: a fault, or a key to work with."""
        if self.self_test_failed:
            return Status.SELF_TEST, None
        is_gcm = job.operation.kind == KeyKind.GCM
        if job.length > MAX_LENGTH or (not is_gcm and job.length < 16):
            return Status.LENGTH, None
        if is_gcm and job.aad_length > MAX_AAD:
            return Status.AAD_LENGTH, None
        if is_gcm and job.tag_length not in TAG_LENGTHS:
            return Status.TAG_LENGTH, None
        key = self._own(job.function, job.key)
        if key is None:
            return Status.KEY_UNKNOWN, None
        if key.kind != job.operation.kind:
            return Status.KEY_KIND, None
        encrypts = job.operation == Operation.GCM_ENCRYPT
        reused = job.j0 or int.from_bytes(job.iv, "big") <= key.last_iv
        if key.strict and encrypts and reused:
            return Status.IV_REUSED, None
        return Status.OK, key

    def _end(
        self, job: Job, status: Status, output: bytes | None = None, tag: bytes = bytes(16),
        limit: int | None = None,
    ) -> Outcome:  # fmt: skip
        return Outcome(output, Result(status, job.function, job.job, job.key, tag), limit)
