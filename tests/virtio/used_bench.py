"""The used-ring writer between a device that completes chains and drivers that take them back."""

from collections import deque
from collections.abc import Callable

from cocotb.triggers import FallingEdge, ReadOnly
from ring_driver import RingDriver

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.interfaces import NO_VECTOR, ChainCompletion, QueueCommand, QueueOp
from tailrace_sim.dma_host import HostLink, Memory, ReadAgent, WriteAgent
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["FUNCTION", "UsedBench"]

FUNCTION = 3
COMMAND = Codec(QueueCommand)
COMPLETION = Codec(ChainCompletion)
INTERRUPT = Codec(InterruptRequest)
ERROR = Codec(ErrorEvent)


class UsedBench:
    """Everything around a UsedWriter. ``stall`` of all ports, ``latency`` of the link."""

    #: Names of the ports, which are others where the writer is part of an engine.
    RING, EVENT, COMPLETE = "ring", "event", "complete"

    def __init__(self, dut, rng, width, *, stall=0.0, latency=(5, 60), delay=(2, 12)):
        self.dut, self.rng = dut, rng
        self.memory = Memory()
        self.link = HostLink(rng, latency)
        self.writes = WriteAgent(
            dut, self.RING, width, self.memory, self.link, rng, stall, delay, FUNCTION
        )
        self.reads = ReadAgent(
            dut, self.EVENT, width, self.memory, self.link, rng, stall, function=FUNCTION
        )
        self.agents = [self.writes, self.reads]
        self.command = Source(dut, "command", rng, stall)
        self.complete = Source(dut, self.COMPLETE, rng, stall)
        self.errors: list = []
        self.acks: list[int] = []
        self.isr = 0
        self.first_interrupt: int | None = None
        sinks = [
            Sink(dut, "ack", rng, stall, self.acks.append),
            Sink(dut, "errors", rng, stall, lambda w: self.errors.append(ERROR.unpack(w))),
            Sink(dut, "interrupt", rng, stall, self._on_interrupt),
        ]
        self.ports = [
            self.command, self.complete, *sinks, *self.writes.ports, *self.reads.ports,
        ]  # fmt: skip
        self.drivers: dict[int, RingDriver] = {}
        self._threads: dict[int, tuple] = {}
        self.vectors: dict[int, int] = {}
        self.pending: dict[int, deque] = {}
        dut.function.value = FUNCTION
        self._halt = False
        #: The device tells that more completions are on their way.
        self.expected = False
        #: Called every cycle: what else happens while a test waits.
        self.meanwhile: Callable[[], object] | None = None
        self._sleeping: dict[int, int] = {}

    # Interrupts and commands

    def _on_interrupt(self, word):
        request = INTERRUPT.unpack(word)
        assert request.function == FUNCTION
        if self.first_interrupt is None:
            self.first_interrupt = self.link.now
        driver = self.drivers[self.vectors[request.vector]]
        self.link.enter(driver.interrupt)

    def add(self, number, size, packed, event_idx, vector=None, **options) -> RingDriver:
        """A queue and its driver; ``enable`` starts it."""
        base = 0x1_0000_0000 * (number + 1)
        driver = RingDriver(self.memory, number, size, packed, event_idx, base, self.rng, **options)
        driver.vector = 100 + number if vector is None else vector
        self.vectors[driver.vector] = number
        self.drivers[number] = driver
        self.pending[number] = deque()
        return driver

    async def obey(self, op: QueueOp, number: int, cycles=3000, **context) -> None:
        """Send a command and wait for its answer."""
        before = len(self.acks)
        self.command.items.append(COMMAND.pack(op=op.value, queue=number, **context))
        await self.until(lambda: len(self.acks) > before, cycles, f"{op.name} of {number}")
        assert self.acks[-1] == number

    async def enable(self, number: int) -> None:
        driver = self.drivers[number]
        driver.begin()
        self.pending[number].clear()
        self.memory.allowed.append(driver.writable)
        await self.obey(
            QueueOp.ENABLE,
            number,
            size=driver.size,
            desc=driver.desc,
            driver=driver.driver,
            device=driver.device,
            vector=driver.vector,
            packed_ring=int(driver.packed),
            event_idx=int(driver.event_idx),
        )
        self._threads[number] = driver.run()
        self._sleeping[number] = 0

    async def reset(self, number: int) -> None:
        """RESET; from the answer on nothing of the queue may be touched.

        The driver's thread ends before, as a driver would not look any more. Whatever was on its
        way to memory arrives before the driver can see the answer.
        """
        self._threads.pop(number, None)
        await self.obey(QueueOp.RESET, number)
        driver = self.drivers[number]
        assert not any(a in self.areas(number) for a in self.reads.outstanding)
        arrived: list[bool] = []
        self.link.enter(lambda: arrived.append(True))
        await self.until(lambda: arrived, 2000, "the link")
        self.memory.allowed.remove(driver.writable)
        driver.expected.clear()
        self.pending[number].clear()

    def stop(self, number: int) -> None:
        """The driver gives the queue up; it is reset some time later."""
        self._threads.pop(number, None)
        self.drivers[number].expected.clear()
        self.drivers[number].with_device.clear()
        self.pending[number].clear()

    def halt(self, value: bool) -> None:
        self._halt = value

    def areas(self, number):
        base = 0x1_0000_0000 * (number + 1)
        return range(base, base + 0x10000)

    # The device

    def give_back(self, number: int, count: int) -> None:
        """Complete the next ``count`` chains of a queue as one group."""
        driver = self.drivers[number]
        for k in range(count):
            chain = driver.with_device.popleft()
            chain.written = self.rng.choice((0, 1, 64, 1500, self.rng.getrandbits(32)))
            chain.more = k < count - 1
            self.pending[number].append(chain)

    def feed(self) -> None:
        """Put one waiting completion of some queue on the stream."""
        waiting = [n for n, chains in self.pending.items() if chains]
        if waiting and len(self.complete.items) < 2:
            number = self.rng.choice(waiting)
            self.push(number, self.pending[number].popleft())

    def push(self, number, chain) -> None:
        self.drivers[number].expected.append(chain)
        self.complete.items.append(
            COMPLETION.pack(
                queue=number,
                id=chain.id,
                slots=chain.slots,
                written=chain.written,
                more=int(chain.more),
            )
        )

    # Time

    async def cycle(self) -> None:
        """One clock cycle of everything, ``meanwhile`` included."""
        if self.meanwhile:
            self.meanwhile()
        self.link.step()
        for agent in self.agents:
            agent.step()
        for number, thread in self._threads.items():
            if self._sleeping[number] <= 0:
                self._sleeping[number] = next(thread)
            else:
                self._sleeping[number] -= 1
        await FallingEdge(self.dut.clk)
        self.dut.halt.value = int(self._halt)
        self.dut.expected.value = int(self.expected)
        for port in self.ports:
            port.drive()
        await ReadOnly()
        for port in self.ports:
            port.sample()
        if self.dut.isr.value:
            self.isr += 1

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await self.cycle()

    async def until(self, condition, cycles: int, what: str) -> int:
        """Run until ``condition()``; returns the cycles it took."""
        for spent in range(cycles):
            if condition():
                return spent
            await self.cycle()
        raise AssertionError(f"after {cycles} cycles still waiting for: {what}")

    async def drain(self, numbers=None, cycles=4000) -> None:
        """Complete everything the device has; the drivers must get it all by themselves."""
        numbers = list(self.drivers) if numbers is None else numbers

        def done():
            for n in numbers:
                if self.drivers[n].with_device:
                    self.give_back(n, 1)
            self.feed()
            return not any(
                self.pending[n] or self.drivers[n].expected or self.complete.items for n in numbers
            )

        waited = 0
        left = -1
        while not done():
            await self.cycle()
            now = sum(len(self.drivers[n].expected) + len(self.pending[n]) for n in numbers)
            waited = 0 if now != left else waited + 1
            left = now
            assert waited < cycles, "stuck: " + ", ".join(
                f"queue {n}: {len(self.drivers[n].expected)} not taken back, "
                f"asleep {self.drivers[n].asleep}, visible {self.drivers[n].visible()}"
                for n in numbers
                if self.drivers[n].expected
            )

    def check_interrupts(self, number) -> None:
        """With EVENT_IDX each time the driver asked may lead to one interrupt, and no more."""
        driver = self.drivers[number]
        if driver.polls and (driver.packed or not driver.event_idx):
            assert driver.interrupts == 0
        elif driver.event_idx and not driver.packed:
            assert driver.interrupts <= driver.arms
        assert (
            NO_VECTOR not in self.vectors
            or self.vectors[NO_VECTOR] != number
            or not (driver.interrupts)
        )
