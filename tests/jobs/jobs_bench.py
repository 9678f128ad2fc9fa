"""Everything around the job queues: host memory, drivers, registers, interrupts."""

from collections import Counter, deque
from collections.abc import Callable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly
from job_maker import AREA_BITS, POISON, JobMaker

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.jobs.types import COMPLETION_BYTES, DESCRIPTOR_BYTES, NO_VECTOR
from tailrace_hw.lib.csr import CsrResponse, csr_request_layout
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.regs import load
from tailrace_sim.dma_host import HostLink, Memory, ReadAgent, WriteAgent
from tailrace_sim.models.jobs import INTERRUPT, Completion, Descriptor, carry_out
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["JobsBench", "QueueDriver", "begin", "function_of", "traffic"]

REQUEST, RESPONSE = Codec(csr_request_layout(10)), Codec(CsrResponse)
INTERRUPTS, ERROR = Codec(InterruptRequest), Codec(ErrorEvent)
REGISTERS = load("jobs/regs.rdl")


def function_of(address: int) -> int:
    """Whose memory it is."""
    return address >> 40 & 15


class JobMemory(Memory):
    """Memory with a hole."""

    def reachable(self, address: int, length: int) -> bool:
        return address + length <= POISON or address >= 2 * POISON


class QueueDriver:
    """The driver of one queue: puts jobs in, takes completions back and checks them."""

    def __init__(
        self, bench, queue, function, ring_log2=4, completions_log2=4, longest=5000, maker=None
    ):
        self.bench, self.queue, self.function = bench, queue, function
        self.vector = 10 + queue
        self.area = function << 40 | queue << AREA_BITS
        self.ring, self.completions = self.area, self.area + (1 << 20)
        self.ring_log2, self.completions_log2 = ring_log2, completions_log2
        self.maker = (maker or JobMaker)(bench.rng, bench.memory, function, queue, longest)
        self.operations = self.maker.operations()
        self.statuses: Counter = Counter()
        self.finished = 0
        #: Bytes of source of the jobs that ended well.
        self.good_bytes = 0
        self.begin()

    def begin(self) -> None:
        """As after a reset."""
        self.tail = self.head = 0
        self.expected: deque = deque()
        self.flagged = self.interrupts = 0
        #: The last completions that were taken are told of to the device.
        self.told = 0

    @property
    def writable(self) -> range:
        size = COMPLETION_BYTES << self.completions_log2
        return range(self.completions, self.completions + size)

    @property
    def room(self) -> int:
        return (1 << self.ring_log2) - len(self.expected)

    def submit(self, descriptor: Descriptor) -> None:
        """Put a job in the ring; ``ring_doorbell`` tells the device."""
        bench = self.bench
        outcome = carry_out(bench.memory, descriptor, self.operations)
        bench.memory.allowed += outcome.may_write
        at = self.ring + self.tail % (1 << self.ring_log2) * DESCRIPTOR_BYTES
        bench.memory.write(at, descriptor.pack())
        self.expected.append((descriptor, outcome))
        self.tail += 1

    def ring_doorbell(self) -> None:
        self.bench.post("tail", self.queue, self.tail & 0xFFFF)

    def tell_head(self) -> None:
        if self.told != self.head:
            self.told = self.head
            self.bench.post("head", self.queue, self.head & 0xFFFF)

    def poll(self) -> None:
        """Take back all completions that are there."""
        while self._poll_one():
            pass

    def _poll_one(self) -> bool:
        memory = self.bench.memory
        size = 1 << self.completions_log2
        at = self.completions + self.head % size * COMPLETION_BYTES
        if memory.read(at + 1, 1)[0] == self.head // size % 2 or self.head - self.told >= size:
            return False
        got = Completion.unpack(memory.read(at, COMPLETION_BYTES))
        assert self.expected, f"queue {self.queue}: a completion of nothing, {got}"
        descriptor, outcome = self.expected.popleft()
        self.head += 1
        self.finished += 1
        self.flagged += descriptor.flags & INTERRUPT
        self.check(got, descriptor, outcome)
        self.statuses[got.status] += 1
        self.good_bytes += 0 if got.status else descriptor.length
        for written in outcome.may_write:
            memory.allowed.remove(written)
        return True

    def check(self, got: Completion, descriptor: Descriptor, outcome) -> None:
        wanted = (
            outcome.status, self.queue, descriptor.cookie, outcome.length, outcome.crc, outcome.tag
        )  # fmt: skip
        have = (got.status, got.queue, got.cookie, got.length, got.crc, got.tag)
        assert have == wanted, f"queue {self.queue}, {descriptor}: {got}, expected {outcome}"
        for address, data in outcome.writes:
            assert self.bench.memory.read(address, len(data)) == data, f"{descriptor}: {address:#x}"

    def interrupt(self) -> None:
        """An interrupt has arrived; what it is for must be there."""
        self.interrupts += 1
        self.poll()
        assert self.interrupts <= self.flagged, f"queue {self.queue}: interrupt without a cause"

    def forget(self) -> None:
        """The queue was reset: nothing of its jobs may be written from now on."""
        memory = self.bench.memory
        for _, outcome in self.expected:
            for written in outcome.may_write:
                memory.allowed.remove(written)
        self.expected.clear()
        memory.allowed.remove(self.writable)
        memory.write(self.completions, bytes(len(self.writable)))


class JobsBench:
    """Agents at all ports. ``stall`` of them, ``latency`` of the link, ``delay`` of the engines."""

    #: What the component calls its DMA ports.
    NAMES = ("rings", "source", "destination", "completions")

    def __init__(self, dut, rng, width, *, stall=0.0, latency=(5, 60), delay=(2, 12), functions=3):
        self.dut, self.rng = dut, rng
        self.memory = JobMemory()
        self.link = HostLink(rng, latency)
        shared = (width, self.memory, self.link, rng, stall, delay, function_of)
        rings, source, destination, completions = self.NAMES
        self.rings = ReadAgent(dut, rings, *shared)
        self.source = ReadAgent(dut, source, *shared)
        self.destination = WriteAgent(dut, destination, *shared)
        self.completions = WriteAgent(dut, completions, *shared)
        self.agents = [self.rings, self.source, self.destination, self.completions]
        for agent in self.agents:
            agent.faults.chance, agent.faults.where = 1.0, range(POISON, 2 * POISON)
        self.bus = Source(dut, "bus__request", rng, stall)
        self.errors: list = []
        sinks = [
            Sink(dut, "bus__response", rng, stall, self._on_response),
            Sink(dut, "interrupt", rng, stall, self._on_interrupt),
            Sink(dut, "errors", rng, stall, lambda word: self.errors.append(ERROR.unpack(word))),
        ]
        self.ports = [self.bus, *sinks, *(port for agent in self.agents for port in agent.ports)]
        self.drivers: dict[int, QueueDriver] = {}
        self._answers: deque = deque()
        self.functions = functions
        self.flr_request = [getattr(dut, f"flr__{k}__request") for k in range(functions)]
        self.flr_done = [getattr(dut, f"flr__{k}__done") for k in range(functions)]
        self._asked = [0] * functions
        self.done = [0] * functions
        #: Called every cycle: what else happens while a test waits.
        self.meanwhile: Callable[[], object] | None = None

    # Registers

    def _access(self, name, index, write, value, offset=0):
        register = REGISTERS[name]
        address = register.addresses[index] + offset
        self.bus.items.append(REQUEST.pack(address=address, write=write, data=value, strobe=15))
        answer: list = []
        self._answers.append(answer)
        return answer

    def post(self, name, index, value, offset=0):
        """Write a register some time."""
        return self._access(name, index, 1, value, offset)

    async def read(self, name, index, offset=0) -> int:
        answer = self._access(name, index, 0, 0, offset)
        await self.until(lambda: answer, 2000, f"the value of {name}[{index}]")
        return answer[0]

    def _on_response(self, word):
        response = RESPONSE.unpack(word)
        assert not response.error
        self._answers.popleft().append(response.data)

    def _on_interrupt(self, word):
        request = INTERRUPTS.unpack(word)
        assert request.vector != NO_VECTOR
        driver = self.drivers[request.vector - 10]
        assert request.function == driver.function
        self.link.enter(driver.interrupt)

    # Queues

    def add(self, queue, function=None, **options) -> QueueDriver:
        function = 1 + queue % 2 if function is None else function
        driver = self.drivers[queue] = QueueDriver(self, queue, function, **options)
        return driver

    async def start(self, queue, settle=True) -> None:
        driver = self.drivers[queue]
        driver.begin()
        self.memory.allowed.append(driver.writable)
        for name, base in (("ring", driver.ring), ("completions", driver.completions)):
            self.post(name, queue, base & 0xFFFFFFFF)
            self.post(name, queue, base >> 32, offset=4)
        self.post("setup", queue, driver.ring_log2 | driver.completions_log2 << 8)
        self.post("owner", queue, driver.function | driver.vector << 16)
        self.post("tail", queue, 0)
        self.post("head", queue, 0)
        last = self.post("control", queue, 1)
        if settle:
            await self.until(lambda: last, 2000, "start")
            assert await self.state(queue) == "running"

    async def state(self, queue) -> str:
        value = await self.read("state", queue) & 7
        return {0: "idle", 1: "running", 2: "resetting", 4: "stopped"}[value]

    async def reset(self, queue, cycles=20000) -> None:
        self.post("control", queue, 2)
        until = self.link.now + cycles
        while await self.state(queue) != "idle":
            assert self.link.now < until, f"queue {queue} is not reset"
            await self.cycles(self.rng.randint(0, 50))
        await self.at_rest(queue)

    async def at_rest(self, queue) -> None:
        """A queue that is idle must have nothing under way."""
        driver = self.drivers[queue]
        area = driver.area >> AREA_BITS
        for agent in (self.rings, self.source):
            mine = [a for a in agent.outstanding if (a & ~POISON) >> AREA_BITS == area]
            assert not mine, f"{[hex(a) for a in mine]} still being read"
        assert (await self.read("state", queue)) >> 8 & 0xFF == 0
        arrived: list[bool] = []
        self.link.enter(lambda: arrived.append(True))
        await self.until(lambda: arrived, 2000, "the link")
        driver.poll()
        driver.forget()

    # Time

    async def cycle(self) -> None:
        if self.meanwhile:
            self.meanwhile()
        self.link.step()
        for agent in self.agents:
            agent.step()
        await FallingEdge(self.dut.clk)
        for signal, value in zip(self.flr_request, self._asked, strict=True):
            signal.value = value
        for port in self.ports:
            port.drive()
        await ReadOnly()
        for port in self.ports:
            port.sample()
        self.done = [int(signal.value) for signal in self.flr_done]

    def ask_flr(self, function: int, value: int) -> None:
        self._asked[function] = value

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

    async def drain(self, queues=None, cycles=20000) -> None:
        """Nothing new; all jobs must come back, with their interrupts."""
        drivers = [self.drivers[q] for q in (self.drivers if queues is None else queues)]

        def back():
            for driver in drivers:
                driver.poll()
                driver.tell_head()
            return not any(driver.expected for driver in drivers)

        await self.until(back, cycles, "completions")
        await self.until(
            lambda: all(d.interrupts == d.flagged for d in drivers), cycles, "interrupts"
        )


async def begin(dut, rng, width, bench=JobsBench, **options):
    """A bench, of a kind of :class:`JobsBench`, around the component just out of reset."""
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return bench(dut, rng, width, **options)


def traffic(bench, kinds, pace=0.05, queues=None) -> None:
    """What drivers do in a cycle: now and then some jobs, completions taken back."""
    rng = bench.rng
    for queue, driver in bench.drivers.items():
        if queues is not None and queue not in queues:
            continue
        if driver.room and rng.random() < pace:
            for _ in range(rng.randint(1, driver.room)):
                driver.submit(driver.maker.make(rng.choice(kinds)))
            driver.ring_doorbell()
        if driver.expected and rng.random() < 0.1:
            driver.poll()
            driver.tell_head()
