"""Jobs of the cipher engine at random, good and bad, with their keys."""

from random import Random

from job_maker import (
    CRC,
    DECRYPT,
    DESTINATION_LIST,
    ENCRYPT,
    J0,
    KINDS,
    XTS,
    Descriptor,
    JobMaker,
    Operation,
    copy_operations,
)
from job_maker import KEY as INSTALL

from tailrace_sim.models import crypto
from tailrace_sim.models.crypto import KeyAction, KeyKind, KeySize, KeyStatus

__all__ = ["CIPHER_KINDS", "KEYS", "ROWS", "CipherMaker", "rows_of"]

XTS_DECRYPT, DELETE = 0x13, 0x21
#: Rows of the key table, and of each queue.
KEYS, ROWS = 64, 11
_OPERATIONS = {
    ENCRYPT: crypto.Operation.GCM_ENCRYPT,
    DECRYPT: crypto.Operation.GCM_DECRYPT,
    XTS: crypto.Operation.XTS_ENCRYPT,
    XTS_DECRYPT: crypto.Operation.XTS_DECRYPT,
}
#: How a request to the key table ends, as a job's status.
_KEY_STATUS = {
    KeyStatus.OK: 0, KeyStatus.INDEX: 0x21, KeyStatus.TAKEN: 0x22, KeyStatus.UNKNOWN: 0x23,
    KeyStatus.SIZE: 0x24,
}  # fmt: skip


def rows_of(queue: int) -> range:
    """The rows that a queue's jobs work with; the one behind them always has a key."""
    return range(12 * queue, 12 * queue + ROWS)


class CipherMaker(JobMaker):
    """Makes descriptors in the area of one queue, with keys in the queue's own rows.

    Jobs of different queues are in no fixed order. So a row that changes is one queue's only, and
    the row of another function that a queue tries always has a key.

    Parameters
    ----------
    engine : golden model of the cipher engine, which all queues have in common
    """

    def __init__(
        self, rng: Random, memory, function: int, queue: int, longest: int = 5000, *,
        engine: crypto.Engine,
    ):  # fmt: skip
        super().__init__(rng, memory, function, queue, min(longest, 16384))
        self.engine = engine
        self.rows = rows_of(queue)
        #: Always there, and of another function.
        self.foreign = rows_of(queue ^ 1).stop

    def operations(self) -> dict[int, Operation]:
        table = copy_operations()
        for opcode, operation in _OPERATIONS.items():
            shortest = 0 if operation.kind == KeyKind.GCM else 16
            table[opcode] = Operation(shortest, 16384, lambda _: True, self._cipher, whole=True)
        table[INSTALL] = Operation(80, 80, lambda _: False, self._install, whole=True)
        table[DELETE] = Operation(0, 0, lambda _: False, self._delete)
        return table

    def make(self, kind: str) -> Descriptor:
        """A job of a kind of :data:`CIPHER_KINDS`."""
        return CIPHER_KINDS[kind](self)

    # What comes of a job

    def _cipher(self, d: Descriptor, data: bytes):
        operation = _OPERATIONS[d.opcode]
        j0 = bool(d.flags & J0) and operation.kind == KeyKind.GCM
        short = operation.kind == KeyKind.GCM and not j0
        outcome = self.engine.work(crypto.Job(
            operation, d.key, data, self.function, iv=d.iv[: 12 if short else 16], j0=j0,
            aad=d.aad, aad_length=d.aad_length, tag=d.tag, tag_length=d.tag_length,
        ))  # fmt: skip
        return int(outcome.result.status), outcome.output or b"", 0, outcome.result.tag

    def _install(self, d: Descriptor, data: bytes):
        kind, size, strict = data[:3]
        rows = 4 if kind & 1 else 1
        if d.key % rows or d.key + rows > KEYS:
            status = KeyStatus.INDEX
        elif kind > 1 or size > 2:
            status = KeyStatus.SIZE
        else:
            count = KeySize(size).bytes
            status = self.engine.command(crypto.KeyCommand(
                KeyAction.INSTALL, self.function, d.key, KeyKind(kind), KeySize(size),
                bool(strict & 1), data[16 : 16 + count], data[48 : 48 + count],
            ))  # fmt: skip
        return _KEY_STATUS[status], b"", 0, bytes(16)

    def _delete(self, d: Descriptor, _: bytes):
        status = self.engine.command(crypto.KeyCommand(KeyAction.DELETE, self.function, d.key))
        return _KEY_STATUS[status], b"", 0, bytes(16)

    # Jobs

    def blank(self, opcode: int, length: int) -> Descriptor:
        d = super().blank(opcode, length)
        d.key = self.rng.choice(self.rows)
        return d

    def install(self, key: int, kind: int, size: int, strict: int = 0) -> Descriptor:
        """A key into a row."""
        rng = self.rng
        d = self.blank(INSTALL, 80)
        d.key = key
        d.destination = rng.getrandbits(64)
        self.side(d, True)
        noise = bytes([rng.randrange(128) * 2 + strict]) + rng.randbytes(77)
        self.fill(d, bytes([kind, size]) + noise)
        return d

    def fill(self, d: Descriptor, data: bytes) -> None:
        """Put a job's source where its descriptor says that it is."""
        if not d.flags & 2:
            self.memory.write(d.source, data)
            return
        for entry in range(d.source_entries):
            raw = self.memory.read(d.source + 16 * entry, 12)
            length = min(int.from_bytes(raw[8:], "little"), len(data))
            self.memory.write(int.from_bytes(raw[:8], "little"), data[:length])
            data = data[length:]

    def delete(self) -> Descriptor:
        d = self.blank(DELETE, 0)
        d.key = self.rng.choice((*self.rows, *self.rows, self.foreign, KEYS))
        return d

    def any_key(self) -> Descriptor:
        """An installation: mostly a good one."""
        rng = self.rng
        kind, size = rng.choice((0, 0, 0, 0, 1, 1, 2)), rng.choice((0, 0, 1, 2, 2, 3))
        key = rng.choice(self.rows)
        if rng.random() < 0.1:
            key = rng.choice((self.foreign, KEYS, 65535, KEYS - 1))
        return self.install(key & ~(3 * (kind and rng.random() < 0.8)), kind, size,
                            int(rng.random() < 0.2))  # fmt: skip

    def cipher(self, opcode: int | None = None, length: int | None = None) -> Descriptor:
        """A job with a key that fits, if there is one; now and then with a fault."""
        rng = self.rng
        opcode = opcode or rng.choice(list(_OPERATIONS))
        operation = _OPERATIONS[opcode]
        gcm = operation.kind == KeyKind.GCM
        shortest = 0 if gcm else 16
        d = self.blank(opcode, self.length(shortest) if length is None else length)
        keys = self.engine._keys
        fitting = [row for row in self.rows if row in keys and keys[row].kind == operation.kind]
        if fitting and rng.random() < 0.95:
            d.key = rng.choice(fitting)
        elif rng.random() < 0.3:
            d.key = rng.choice((self.foreign, KEYS, 65535))
        d.tag_length = rng.choice(crypto.TAG_LENGTHS)
        d.aad_length = rng.randint(0, 96)
        if gcm and rng.random() < 0.08:
            name, wrong = rng.choice((
                ("tag_length", (17, 32 + 12, 255)), ("aad_length", (97, 140, 255)),
            ))  # fmt: skip
            setattr(d, name, rng.choice(wrong))
        self.side(d, True)
        self.side(d, False)
        if opcode == DECRYPT and d.key in fitting:
            self._seal(d, keys[d.key].material)
        return d

    def _seal(self, d: Descriptor, material: bytes) -> None:
        """Make the source a ciphertext, and give the job the tag: a wrong one, now and then."""
        j0 = d.iv if d.flags & J0 else crypto.j0_of(material, d.iv[:12])
        data, tag = crypto.gcm_encrypt(
            material, j0, d.aad[: d.aad_length], self.rng.randbytes(d.length)
        )
        self.fill(d, data)
        d.tag = tag
        if self.rng.random() < 0.2:
            bit = self.rng.randrange(8 * min(d.tag_length, 16))
            d.tag = (int.from_bytes(tag, "little") ^ 1 << bit).to_bytes(16, "little")

    def good(self, opcode: int | None = None, length: int | None = None) -> Descriptor:
        if opcode in _OPERATIONS or (opcode is None and self.rng.random() < 0.7):
            return self.cipher(opcode, length)
        opcode = opcode or self.rng.choice((1, CRC, INSTALL))
        if opcode == INSTALL:
            return self.any_key()
        return super().good(opcode, length)

    def bad_opcode(self) -> Descriptor:
        d = super().good(1)
        d.opcode = self.rng.choice((0, 3, 0x14, 0x22, 0xFF))
        return d

    def bad_delete(self) -> Descriptor:
        d = self.delete()
        d.length = self.rng.choice((1, 1 << 20))
        d.flags &= ~DESTINATION_LIST
        return d


CIPHER_KINDS = {
    **{name: make for name, make in KINDS.items() if name != "refused"},
    "good": CipherMaker.good,
    "bad_opcode": CipherMaker.bad_opcode,
    "key": CipherMaker.any_key,
    "delete": CipherMaker.delete,
    "bad_delete": CipherMaker.bad_delete,
}
