"""The cipher engine: what it is, its self-test, its counters, its keys."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tailrace.crypto.errors import KeyTableFull
from tailrace.crypto.keys import XTS_ROWS, Key, KeyTable, describe
from tailrace.errors import TailraceError
from tailrace.host import poll
from tailrace.jobs.data import Request, run_data
from tailrace.jobs.errors import JobError
from tailrace.jobs.queue import JobQueue
from tailrace.jobs.types import JobResult, Registers
from tailrace.regs import address_map, crypto
from tailrace.regs.job_memory import JobOpcode, JobStatus, KeyKind

if TYPE_CHECKING:
    from tailrace.device import Tailrace

__all__ = ["Cipher", "CipherCounters", "CipherShape", "Fault", "self_test_state"]

_BASE = address_map.CRYPTO


def _field(value: int, place: tuple[int, int]) -> int:
    lowest, width = place
    return value >> lowest & (1 << width) - 1


async def self_test_state(registers: Registers) -> str:
    """How the last self-test has ended: busy, passed or failed."""
    state = await registers.read(_BASE + crypto.SELF_TEST_STATE)
    if _field(state, crypto.SELF_TEST_STATE__BUSY):
        return "busy"
    passed = bool(_field(state, crypto.SELF_TEST_STATE__PASSED))
    if passed == bool(_field(state, crypto.SELF_TEST_STATE__FAILED)):
        raise TailraceError(f"the self-test can't have ended with state 0x{state:x}")
    return "passed" if passed else "failed"


class Fault(enum.Enum):
    """What the engine can do wrong on purpose in its self-test: the bit of the register."""

    ROUND_KEY = crypto.SELF_TEST__ROUND_KEY_FAULT[0]
    HASH_KEY = crypto.SELF_TEST__HASH_KEY_FAULT[0]


@dataclass(frozen=True)
class CipherShape:
    """What there is.

    Attributes
    ----------
    keys : places in the key table
    xts : AES-XTS is there
    lanes : blocks of 16 bytes a cycle
    """

    keys: int
    xts: bool
    lanes: int

    @classmethod
    async def read(cls, registers: Registers) -> "CipherShape":
        """From the management function's registers; no ``keys`` if there is no cipher engine."""
        value = await registers.read(_BASE + crypto.SHAPE)
        return cls(
            _field(value, crypto.SHAPE__KEYS),
            bool(_field(value, crypto.SHAPE__XTS)),
            _field(value, crypto.SHAPE__LANES),
        )


@dataclass(frozen=True)
class CipherCounters:
    """What the engine has counted since its reset, of all functions.

    Attributes
    ----------
    done : packets that ended well
    failed : those that did not, by name of their status
    installed, key_refused : keys, and requests for keys that were refused
    last_wrong_tag : index of the key of the last packet whose tag was wrong
    """

    done: int
    failed: dict[str, int]
    installed: int
    key_refused: int
    last_wrong_tag: int


class Cipher:
    """The cipher engine through one job queue, with the keys of the queue's function.

    ::

        cipher = await Cipher.open(device)
        key = await cipher.install(material)

    Attributes
    ----------
    queue : the job queue
    shape : what the engine can do
    table : places of keys; see :class:`KeyTable` for who must share it
    """

    def __init__(self, queue: JobQueue, shape: CipherShape, table: KeyTable):
        self.queue = queue
        self.shape = shape
        self.table = table

    @classmethod
    async def open(
        cls, device: "Tailrace", *, function: int = 0, queue: int = 0, **options: Any
    ) -> "Cipher":
        """Start job queue ``queue`` for a function; ``options`` are those of ``device.jobs``."""
        return await device.cipher(queue, function, **options)

    @classmethod
    async def on(cls, queue: JobQueue, table: KeyTable | None = None) -> "Cipher":
        """Use a job queue that is open.

        Raises
        ------
        TailraceError
            The device has no cipher engine.
        """
        shape = await CipherShape.read(queue.registers)
        if not shape.keys:
            raise TailraceError("the device has no cipher engine")
        return cls(queue, shape, table or KeyTable(shape.keys))

    # Engine --------------------------------------------------------------------------------------

    async def self_test(self, inject: Fault | None = None, *, timeout: int = 100_000) -> bool:
        """Run the known-answer test; whether it has passed.

        Jobs wait meanwhile. With ``inject`` the engine makes a fault that the test must find, so
        False is right, and the engine refuses to work until a run has passed.
        """
        registers = self.queue.registers
        state = ""

        async def over() -> bool:
            nonlocal state
            state = await self_test_state(registers)
            return state != "busy"

        # While a run is under way, that after reset for one, a start has no effect.
        await poll(self.queue.host, "the end of a self-test", over, timeout=timeout)
        start = 1 << crypto.SELF_TEST__START[0]
        fault = 0 if inject is None else 1 << inject.value
        await registers.write(_BASE + crypto.SELF_TEST, start | fault)
        await poll(self.queue.host, "the end of the self-test", over, timeout=timeout)
        return state == "passed"

    async def counters(self) -> CipherCounters:
        registers = self.queue.registers
        failed = {
            JobStatus(status).name: await registers.read(
                _BASE + crypto.FAILED + status * crypto.FAILED_STRIDE
            )
            for status in range(1, crypto.FAILED_COUNT)
        }
        wrong = await registers.read(_BASE + crypto.AUTHENTICATION_FAILED)
        return CipherCounters(
            done=await registers.read64(_BASE + crypto.DONE),
            failed=failed,
            installed=await registers.read(_BASE + crypto.INSTALLED),
            key_refused=await registers.read(_BASE + crypto.KEY_REFUSED),
            last_wrong_tag=_field(wrong, crypto.AUTHENTICATION_FAILED__KEY),
        )

    # Keys ----------------------------------------------------------------------------------------

    async def install(self, material: bytes, *, strict: bool = False) -> Key:
        """A GCM key of 16, 24 or 32 bytes, in a free place.

        A ``strict`` one encrypts only with IVs of 12 bytes that go up.

        Raises
        ------
        KeyTableFull
            There is none.
        """
        description = describe(KeyKind.GCM, material, strict=strict)
        return Key(self, await self._place(description, 1), KeyKind.GCM, strict)

    async def install_xts(self, material: bytes) -> Key:
        """An XTS key, Key1 || Key2, of 32 or 64 bytes."""
        description = describe(KeyKind.XTS, material, strict=False)
        if not self.shape.xts:
            raise TailraceError("the cipher engine has no AES-XTS")
        return Key(self, await self._place(description, XTS_ROWS), KeyKind.XTS, False)

    async def _place(self, description: bytes, rows: int) -> int:
        """Install in a place that neither we nor another function have; none is tried twice.

        Whether the key is there is not known when its job was dropped or not answered. Such a place
        is in doubt and nobody gets it until a KEY_DELETE through the same queue, which the next
        installation sends first, has ended.
        """
        await self._clear_doubts()
        tried: set[int] = set()
        while True:
            index = self.table.take(rows, tried)
            if index is None:
                raise self._full(rows)
            tried.add(index)
            try:
                await self.put_key(index, description)
            except JobError as error:
                if error.status != JobStatus.KEY_TAKEN:
                    self.table.give(index, rows)
                    raise
                self.table.refuse(index, rows)
            except BaseException:
                self.table.doubt(index, rows, self.queue.index)
                raise
            else:
                self.table.keep(index, rows)
                return index

    async def _clear_doubts(self) -> None:
        """Delete what may be in places in doubt."""
        while (place := self.table.take_doubtful(self.queue.index)) is not None:
            try:
                await self.drop_key(*place)
            except BaseException:
                self.table.doubt(*place, self.queue.index)
                raise

    def _full(self, rows: int) -> KeyTableFull:
        ours, others = self.shape.keys - self.table.free, self.table.others
        what = "1 row" if rows == 1 else f"{rows} rows, from a multiple of {rows} on"
        return KeyTableFull(
            f"the key table has no room for a key of {what}: of its {self.shape.keys} rows"
            f" {ours} are ours, and others have {others} as far as known; delete a key"
        )

    async def put_key(self, index: int, description: bytes) -> None:
        """KEY_INSTALL at a place; its description does not stay in host memory."""
        await self._key_job(Request(JobOpcode.KEY_INSTALL, description, parameters={"key": index}))

    async def drop_key(self, index: int, rows: int) -> None:
        """KEY_DELETE; the place is free then, also if there is no key (function level reset)."""
        try:
            await self._key_job(Request(JobOpcode.KEY_DELETE, parameters={"key": index}))
        except JobError as error:
            if error.status != JobStatus.KEY_NOT_THERE:
                raise
        self.table.give(index, rows)

    async def _key_job(self, request: Request) -> JobResult:
        [ended] = await run_data(self.queue, [request])
        return ended.result.check(f"{request.opcode.name} of key {request.parameters['key']}")
