"""The registers of one job queue."""

from dataclasses import dataclass

from tailrace.host import Host, poll
from tailrace.jobs.types import Registers
from tailrace.regs import address_map, jobs
from tailrace.regs.codes import ErrorCode

__all__ = ["QueueCounters", "QueueRegisters", "QueueState"]


@dataclass(frozen=True)
class QueueState:
    """What the state register says: running, resetting, stopped, or none of them, which is idle."""

    running: bool
    resetting: bool
    stopped: bool
    in_flight: int
    error: int

    @property
    def idle(self) -> bool:
        return not (self.running or self.resetting or self.stopped)

    def __str__(self) -> str:
        if self.stopped:
            known = self.error in ErrorCode.__members__.values()
            code = ErrorCode(self.error).name if known else f"code 0x{self.error:02x}"
            return f"it has stopped with {code}"
        if self.running:
            return f"it runs with {self.in_flight} jobs in flight"
        return "it is being reset" if self.resetting else "it is idle"


@dataclass(frozen=True)
class QueueCounters:
    """What a queue has counted since the device's reset.

    Attributes
    ----------
    done, failed : jobs that ended well, and that did not
    bytes : of source of those that ended well
    dropped : jobs dropped by resets
    """

    done: int
    failed: int
    bytes: int
    dropped: int


def _bit(value: int, place: tuple[int, int]) -> int:
    lowest, width = place
    return value >> lowest & (1 << width) - 1


class QueueRegisters:
    """Registers of queue ``index``, one of each array.

    Parameters
    ----------
    registers : of the management function
    index : of the queue
    """

    def __init__(self, registers: Registers, index: int):
        self._registers = registers
        self._index = index

    def _at(self, offset: int, stride: int) -> int:
        return address_map.JOBS + offset + self._index * stride

    async def start(
        self, ring: int, completions: int, size_log2: int, function: int, vector: int
    ) -> None:
        """Set both rings up and start; whether it runs then is what :meth:`state` says."""
        await self.tell_tail(0)
        await self.tell_head(0)
        addresses = (
            (self._at(jobs.RING, jobs.RING_STRIDE), ring),
            (self._at(jobs.COMPLETIONS, jobs.COMPLETIONS_STRIDE), completions),
        )
        for offset, address in addresses:
            await self._registers.write(offset, address & 0xFFFF_FFFF)
            await self._registers.write(offset + 4, address >> 32)
        setup = size_log2 << jobs.SETUP__RING_LOG2[0] | size_log2 << jobs.SETUP__COMPLETIONS_LOG2[0]
        owner = function << jobs.OWNER__FUNCTION[0] | vector << jobs.OWNER__VECTOR[0]
        await self._registers.write(self._at(jobs.SETUP, jobs.SETUP_STRIDE), setup)
        await self._registers.write(self._at(jobs.OWNER, jobs.OWNER_STRIDE), owner)
        await self._command(jobs.CONTROL__START)

    async def reset(self, host: Host, timeout: int) -> None:
        """Reset the queue, and wait until nothing of it is in flight."""
        await self._command(jobs.CONTROL__RESET)

        async def idle() -> bool:
            return (await self.state()).idle

        await poll(host, f"the reset of job queue {self._index}", idle, timeout=timeout)

    async def _command(self, place: tuple[int, int]) -> None:
        await self._registers.write(self._at(jobs.CONTROL, jobs.CONTROL_STRIDE), 1 << place[0])

    async def state(self) -> QueueState:
        value = await self._registers.read(self._at(jobs.STATE, jobs.STATE_STRIDE))
        return QueueState(
            bool(_bit(value, jobs.STATE__RUNNING)),
            bool(_bit(value, jobs.STATE__RESETTING)),
            bool(_bit(value, jobs.STATE__STOPPED)),
            _bit(value, jobs.STATE__IN_FLIGHT),
            _bit(value, jobs.STATE__ERROR),
        )

    async def tell_tail(self, index: int) -> None:
        """Doorbell."""
        await self._registers.write(self._at(jobs.TAIL, jobs.TAIL_STRIDE), index & 0xFFFF)

    async def tell_head(self, index: int) -> None:
        """Completions up to ``index`` were taken back."""
        await self._registers.write(self._at(jobs.HEAD, jobs.HEAD_STRIDE), index & 0xFFFF)

    async def counters(self) -> QueueCounters:
        registers = self._registers
        return QueueCounters(
            done=await registers.read64(self._at(jobs.DONE, jobs.DONE_STRIDE)),
            failed=await registers.read(self._at(jobs.FAILED, jobs.FAILED_STRIDE)),
            bytes=await registers.read64(self._at(jobs.BYTES, jobs.BYTES_STRIDE)),
            dropped=await registers.read(self._at(jobs.DROPPED, jobs.DROPPED_STRIDE)),
        )
