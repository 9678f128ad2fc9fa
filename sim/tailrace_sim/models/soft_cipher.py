"""The cipher engine of a soft device: operations for the job queues, and its registers.

What it does to packets is what :class:`tailrace_sim.models.crypto.Engine` does.
"""

from tailrace_sim.models import crypto
from tailrace_sim.models.jobs import J0, Descriptor, Operation

__all__ = ["SoftCipher"]

_OPERATIONS = {
    0x10: crypto.Operation.GCM_ENCRYPT, 0x11: crypto.Operation.GCM_DECRYPT,
    0x12: crypto.Operation.XTS_ENCRYPT, 0x13: crypto.Operation.XTS_DECRYPT,
}  # fmt: skip
_INSTALL, _DELETE, _DESCRIPTION = 0x20, 0x21, 80
_KEY_STATUS = 0x20
#: Registers.
_SHAPE, _SELF_TEST, _SELF_TEST_STATE, _LAST, _DONE, _INSTALLED, _REFUSED, _FAILED = (
    0x00, 0x04, 0x08, 0x0C, 0x10, 0x18, 0x1C, 0x20,
)  # fmt: skip
#: Steps that a self-test takes.
_RUN = 20
Worked = tuple[int, bytes, int, bytes]


class SoftCipher:
    """Golden engine behind registers and opcodes.

    Parameters
    ----------
    keys : rows that users may have
    xts : whether it has AES-XTS

    Attributes
    ----------
    engine : the golden model
    failing : the self-test finds something
    descriptions : of the keys that came, as they lay in memory
    """

    def __init__(self, keys: int = 16, *, xts: bool = True):
        self.engine = crypto.Engine(keys)
        self.failing = False
        self.descriptions: list[bytes] = []
        self._shape = keys | xts << 17 | 4 << 20
        self._xts = xts
        self._left = _RUN  # the run after reset
        self._injects = False
        self._passed = False
        self._last = self._done = self._installed = self._refused = 0
        self._failed = [0] * 9

    def operations(self, function: int) -> dict[int, Operation]:
        """For jobs of a function's queue."""

        def cipher(d: Descriptor, payload: bytes) -> Worked:
            return self._packet(function, d, payload)

        def install(d: Descriptor, payload: bytes) -> Worked:
            self.descriptions.append(payload)
            return self._answer(self._install(function, d.key, payload), installs=True)

        def delete(d: Descriptor, _: bytes) -> Worked:
            command = crypto.KeyCommand(crypto.KeyAction.DELETE, function, d.key)
            return self._answer(self.engine.command(command), installs=False)

        longest = crypto.MAX_LENGTH
        found = {
            opcode: Operation(16 * is_xts, longest, lambda _: True, cipher, True)
            for opcode, operation in _OPERATIONS.items()
            if not (is_xts := operation.kind == crypto.KeyKind.XTS) or self._xts
        }
        found[_INSTALL] = Operation(_DESCRIPTION, _DESCRIPTION, lambda _: False, install, True)
        found[_DELETE] = Operation(0, 0, lambda _: False, delete)
        return found

    def _packet(self, function: int, d: Descriptor, payload: bytes) -> Worked:
        operation = _OPERATIONS[d.opcode]
        j0 = bool(d.flags & J0)
        whole = j0 or operation.kind == crypto.KeyKind.XTS
        job = crypto.Job(
            operation, d.key, payload, function, iv=d.iv[: 16 if whole else 12], j0=j0,
            aad=d.aad[: d.aad_length], aad_length=d.aad_length, tag=d.tag,
            tag_length=d.tag_length,
        )  # fmt: skip
        outcome = self.engine.work(job)
        status = outcome.result.status
        if status:
            self._failed[status] += 1
            if status == crypto.Status.AUTHENTICATION_FAILED:
                self._last = d.key
            return status, b"", 0, bytes(16)
        self._done += 1
        return 0, outcome.output or b"", 0, outcome.result.tag

    def _install(self, function: int, key: int, description: bytes) -> crypto.KeyStatus:
        kind, size, strict = description[0], description[1], description[2] & 1
        if kind > 1 or size > 2:
            return crypto.KeyStatus.SIZE
        length = crypto.KeySize(size).bytes
        command = crypto.KeyCommand(
            crypto.KeyAction.INSTALL, function, key, crypto.KeyKind(kind), crypto.KeySize(size),
            bool(strict), description[16 : 16 + length], description[48 : 48 + length],
        )  # fmt: skip
        return self.engine.command(command)

    def _answer(self, status: crypto.KeyStatus, *, installs: bool) -> Worked:
        good = status == crypto.KeyStatus.OK
        self._refused += not good
        self._installed += good and installs
        return 0 if good else _KEY_STATUS + status, b"", 0, bytes(16)

    def forget(self, function: int) -> None:
        """A function level reset."""
        self.engine.command(crypto.KeyCommand(crypto.KeyAction.DELETE_ALL, function))

    def read(self, offset: int) -> int:
        fixed = {
            _SHAPE: self._shape,
            _SELF_TEST_STATE: self._test_state(),
            _LAST: self._last,
            _DONE: self._done & 0xFFFF_FFFF,
            _DONE + 4: self._done >> 32,
            _INSTALLED: self._installed,
            _REFUSED: self._refused,
        }
        counts = {_FAILED + 4 * status: count for status, count in enumerate(self._failed)}
        return {**fixed, **counts}.get(offset, 0)

    def _test_state(self) -> int:
        if self._left:
            return 1
        return 2 if self._passed else 4

    def write(self, offset: int, value: int) -> None:
        if offset == _SELF_TEST and value & 1 and not self._left:
            self._left, self._injects = _RUN, bool(value & 6)

    @property
    def testing(self) -> bool:
        return self._left > 0

    def step(self) -> None:
        """A step of a self-test."""
        if self._left:
            self._left -= 1
            self._passed = not (self.failing or self._injects)
            if not self._left:
                self.engine.self_test_failed = not self._passed
