"""The whole device without gateware: management function with job queues, network function."""

from typing import Any

from tailrace.device import Tailrace
from tailrace.regs import address_map, errors, identity
from tailrace.regs.codes import ErrorSource
from tailrace_sim.models.pci import ModelError, SoftFunction
from tailrace_sim.models.soft_cipher import SoftCipher
from tailrace_sim.models.soft_jobs import SoftJobs
from tailrace_sim.soft_bench import SoftBench

__all__ = ["DeviceBench", "SoftManagement"]

IDENTITY, ERRORS = address_map.IDENTITY, address_map.ERRORS
JOBS, CRYPTO = address_map.JOBS, address_map.CRYPTO


class SoftManagement(SoftFunction):
    """Identity, error collector and counters, as far as the driver reads them; job queues.

    Attributes
    ----------
    words : registers that only hold a value
    events : errors that have occurred
    jobs : the look-aside engine, once :class:`DeviceBench` has made it
    """

    def __init__(self) -> None:
        self.jobs: SoftJobs | None = None
        super().__init__(0x1234, 0x7A11, 0x120000, bar0=address_map.BAR_SIZE, vectors=8)
        self.words = {
            IDENTITY + identity.MAGIC: 0x43524C54,
            IDENTITY + identity.VERSION: 1 << 24 | 2 << 16 | 3,
            IDENTITY + identity.CONFIGURATION: 0xC0FFEE,
            IDENTITY + identity.SHAPE: 64 | 1 << 8 | 2 << 16 | 4 << 24,
            IDENTITY + identity.CLOCK: 250_000_000,
        }
        self.events: dict[int, tuple[int, int, int]] = {}  # code: count, who, info
        self.selected = 0
        self.cycle = 0xFFFF_FFFF
        self._high = 0

    def report(self, code: int, source: int, function: int, queue: int, info: int) -> None:
        count, who, first = self.events.get(code, (0, source | function << 8 | queue << 16, info))
        self.events[code] = (count + 1, who, first)

    def register_read(self, offset: int, size: int) -> int:
        if size != 4:
            raise ModelError(f"register access of {size} bytes at 0x{offset:x}")
        if self.jobs is not None and JOBS <= offset < CRYPTO:
            return self.jobs.read(offset - JOBS)
        if self.jobs is not None and CRYPTO <= offset < CRYPTO + 0x400:
            return self.jobs.cipher.read(offset - CRYPTO)
        if offset == IDENTITY + identity.CYCLES:
            low, self._high = self.cycle & 0xFFFF_FFFF, self.cycle >> 32
            self.cycle += 1  # it carries between the two reads
            return low
        if offset == IDENTITY + identity.CYCLES + 4:
            return self._high
        if offset in (ERRORS + errors.PENDING, ERRORS + errors.PENDING + 4):
            bits = sum(1 << code for code in self.events)
            return bits >> 8 * (offset - ERRORS) & 0xFFFF_FFFF
        count, who, info = self.events.get(self.selected, (0, 0, 0))
        return {
            **self.words,
            ERRORS + errors.COUNT: count,
            ERRORS + errors.FIRST_WHO: who,
            ERRORS + errors.FIRST_INFO: info & 0xFFFF_FFFF,
            ERRORS + errors.FIRST_INFO + 4: info >> 32,
            ERRORS + errors.FIRST_WHEN: 77,
            ERRORS + errors.TOTAL: sum(event[0] for event in self.events.values()),
        }.get(offset, 0)

    def register_write(self, offset: int, value: int, size: int) -> None:
        if offset == ERRORS + errors.CODE_SELECT:
            self.selected = value
        elif offset == ERRORS + errors.CLEAR:
            self.events.pop(self.selected, None)
        elif self.jobs is not None and JOBS <= offset < CRYPTO:
            self.jobs.write(offset - JOBS, value)
        elif self.jobs is not None and CRYPTO <= offset < CRYPTO + 0x400:
            self.jobs.cipher.write(offset - CRYPTO, value)

    def reset(self) -> None:
        if self.jobs is not None:
            self.jobs.function_reset(0)


class DeviceBench(SoftBench):
    """Management function 0, network function 1.

    Parameters
    ----------
    keys, xts : of the cipher engine

    Attributes
    ----------
    management, jobs, cipher : soft parts
    tailrace : the driver, once :meth:`find` has run
    """

    def __init__(self, *, keys: int = 16, xts: bool = True, seed: int = 0, **options: Any):
        self._keys, self._xts, self._seed = keys, xts, seed
        super().__init__(seed=seed, **options)
        self.host.add_device(self.jobs)

    def _functions(self) -> dict[int, SoftFunction]:
        self.management = SoftManagement()
        functions: dict[int, SoftFunction] = {0: self.management, 1: self.device}
        self.cipher = SoftCipher(self._keys, xts=self._xts)
        self.jobs = SoftJobs(functions, self.cipher, self._report, seed=self._seed)
        self.management.jobs = self.jobs
        return functions

    def _report(self, code: int, function: int, queue: int, info: int) -> None:
        self.management.report(code, ErrorSource.JOBS, function, queue, info)

    def find(self) -> Tailrace:
        """Scan, and find the device."""
        self.tailrace: Tailrace = self.run(Tailrace.find(self.host))
        return self.tailrace
