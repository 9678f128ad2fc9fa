"""TLS 1.3 record protection by the soft cipher engine, against ``cryptography``."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.crypto.aead import AESGCM
from tailrace.crypto.errors import BadMessage, TlsError
from tailrace.crypto.tls import ContentType, RecordProtection
from tailrace.regs.job_memory import MAX_CIPHER
from tailrace_sim.soft_device import DeviceBench

APPLICATION_DATA, HANDSHAKE, ALERT = 23, 22, 21
#: RFC 8448, 3: key and IV of a direction; sequence number, type, data and record.
EXAMPLES = {
    "client": (
        "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9",
        [
            (0, APPLICATION_DATA, bytes(range(50)),
             "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd5"
             "4a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"),
            (1, ALERT, b"\1\0", "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"),
        ],
    ),
    "server": (
        "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984",
        [
            (1, APPLICATION_DATA, bytes(range(50)),
             "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc60"
             "2dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"),
            (2, ALERT, b"\1\0", "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"),
        ],
    ),
}  # fmt: skip
KEY, IV = bytes(range(16)), bytes(range(0xF0, 0xFC))


class TlsBench(DeviceBench):
    """Both ends of a direction, with one key."""

    def __init__(self, *, sequence: int = 0, seed: int = 0):
        super().__init__(seed=seed)
        cipher = self.run(self.find().cipher())
        self.aead = self.run(AESGCM.create(cipher, KEY))
        self.writer = RecordProtection(self.aead, IV, sequence=sequence)
        self.reader = RecordProtection(self.aead, IV, sequence=sequence)

    def alert(self, record: bytes) -> str:
        """The alert that a record leads to."""
        with pytest.raises(TlsError) as error:
            self.run(self.reader.open(record))
        return error.value.alert


def library_record(inner: bytes, sequence: int, *, version: int = 0x0303, kind: int = 23) -> bytes:
    """A record put together from RFC 8446, 5.2 and 5.3, by the library."""
    header = bytes([kind, *version.to_bytes(2, "big"), *(len(inner) + 16).to_bytes(2, "big")])
    padded = bytes(4) + sequence.to_bytes(8, "big")
    nonce = bytes(a ^ b for a, b in zip(padded, IV, strict=True))
    return header + LibraryGCM(KEY).encrypt(nonce, inner, header)


@pytest.mark.parametrize("sequence", [0, 0xFF, (1 << 32) - 3, (1 << 64) - 8])
def test_records_are_those_of_the_library(sequence):
    bench = TlsBench(sequence=sequence, seed=sequence & 0xFF)
    for number in range(8):
        kind = ContentType(bench.rng.choice([APPLICATION_DATA, HANDSHAKE, ALERT]))
        data = bench.rng.randbytes(bench.rng.randint(1, 2000))
        padding = bench.rng.choice([0, 0, 1, 100])
        record = bench.run(bench.writer.seal(kind, data, padding=padding))
        inner = data + bytes([kind]) + bytes(padding)
        assert record == library_record(inner, sequence + number)
        assert bench.run(bench.reader.open(record)) == (kind, data)
    assert bench.writer.sequence == bench.reader.sequence == sequence + 8


@pytest.mark.parametrize("side", EXAMPLES)
def test_records_are_those_of_the_rfc(side):
    key, iv, records = EXAMPLES[side]
    bench = DeviceBench()
    aead = bench.run(AESGCM.create(bench.run(bench.find().cipher()), bytes.fromhex(key)))
    first = records[0][0]
    writer, reader = (RecordProtection(aead, bytes.fromhex(iv), sequence=first) for _ in range(2))
    for sequence, kind, data, record in records:
        assert writer.sequence == sequence
        assert bench.run(writer.seal(ContentType(kind), data)).hex() == record
        assert bench.run(reader.open(bytes.fromhex(record))) == (kind, data)


def test_many_records():
    bench = TlsBench()
    contents = [
        (ContentType.APPLICATION_DATA, bench.rng.randbytes(bench.rng.randint(0, 300)))
        for _ in range(150)
    ]
    records = bench.run(bench.writer.seal_many(contents))
    for number, ((_, data), record) in enumerate(zip(contents, records, strict=True)):
        assert record == library_record(data + b"\x17", number)
    assert bench.run(bench.reader.open_many(records)) == contents


def test_tasks_take_their_numbers_in_the_order_of_the_calls():
    bench = TlsBench()
    calls = [bench.writer.seal(ContentType.APPLICATION_DATA, bytes([n])) for n in range(6)]
    records = bench.host.run(*calls)
    opened = {}
    for sequence in range(6):
        [mine] = [
            (n, r) for n, r in enumerate(records)
            if r == library_record(bytes([n, 23]), sequence)
        ]  # fmt: skip
        opened[sequence] = mine[0]
        assert bench.run(bench.reader.open(mine[1]))[1] == bytes([mine[0]])
    assert sorted(opened.values()) == list(range(6))


def test_the_version_is_not_looked_at():
    bench = TlsBench()
    record = library_record(b"x\x17", 0, version=0x0301)
    assert bench.run(bench.reader.open(record)) == (ContentType.APPLICATION_DATA, b"x")


@pytest.mark.parametrize(
    ("record", "alert"),
    [
        (b"\x17\x03\x03\x00", "decode_error"),
        (library_record(b"x\x17", 0) + b"y", "decode_error"),
        (library_record(b"x\x17", 0)[:-1], "decode_error"),
        (library_record(b"x\x17", 0, kind=22), "unexpected_message"),
        (b"\x17\x03\x03\x00\x0f" + bytes(15), "bad_record_mac"),
        (library_record(b"x\x17", 1), "bad_record_mac"),
        (library_record(b"", 0), "unexpected_message"),
        (library_record(bytes(40), 0), "unexpected_message"),
        (library_record(b"x\x14", 0), "unexpected_message"),
        (library_record(b"\x16\0\0", 0), "unexpected_message"),
        (library_record(b"\x15", 0), "unexpected_message"),
        (library_record(bytes(MAX_CIPHER) + b"\x17", 0), "record_overflow"),
        (library_record(bytes(MAX_CIPHER) + b"\x17\0", 0), "record_overflow"),
        (b"\x17\x03\x03\x41\x01" + bytes(0x4101), "record_overflow"),
    ],
)
def test_records_that_end_the_connection(record, alert):
    bench = TlsBench()
    assert bench.alert(record) == alert
    assert bench.alert(library_record(b"x\x17", 1)) == "internal_error", "it stays so"


def test_the_longest_record():
    bench = TlsBench()
    data = bytes(MAX_CIPHER - 1)
    record = bench.run(bench.writer.seal(ContentType.APPLICATION_DATA, data))
    assert bench.run(bench.reader.open(record)) == (ContentType.APPLICATION_DATA, data)
    for size, padding in ((MAX_CIPHER, 0), (0, MAX_CIPHER), (10, -1)):
        with pytest.raises(BadMessage):
            bench.run(bench.writer.seal(ContentType.APPLICATION_DATA, bytes(size), padding=padding))
    assert bench.writer.sequence == 1, "what was not sent has no number"


def test_what_is_not_sealed():
    bench = TlsBench()
    for kind in (ContentType.HANDSHAKE, ContentType.ALERT):
        with pytest.raises(BadMessage, match=f"type {kind.name} must not be empty"):
            bench.run(bench.writer.seal(kind, b""))
    record = bench.run(bench.writer.seal(ContentType.APPLICATION_DATA, b""))
    assert bench.run(bench.reader.open(record)) == (ContentType.APPLICATION_DATA, b"")


def test_the_sequence_number_never_wraps():
    bench = TlsBench(sequence=(1 << 64) - 1)
    with pytest.raises(TlsError, match="the sequence number would wrap"):
        bench.run(bench.writer.seal_many([(ContentType.APPLICATION_DATA, b"x")] * 2))
    last = bench.run(bench.writer.seal(ContentType.APPLICATION_DATA, b"x"))
    assert last == library_record(b"x\x17", (1 << 64) - 1)
    with pytest.raises(TlsError, match="the sequence number would wrap"):
        bench.run(bench.writer.seal(ContentType.APPLICATION_DATA, b"x"))


def test_what_protection_can_not_be_made_of():
    bench = TlsBench()
    cipher = bench.aead._cipher
    with pytest.raises(BadMessage, match="12 bytes, not 8"):
        RecordProtection(bench.aead, bytes(8))
    for options in ({"strict": True}, {"tag_length": 8}):
        aead = bench.run(AESGCM.create(cipher, KEY, **options))
        with pytest.raises(BadMessage, match="TLS needs tags of 16 bytes"):
            RecordProtection(aead, IV)
