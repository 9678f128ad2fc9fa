"""The whole virtqueue engine between drivers and a device that takes and completes chains."""

from collections import deque

from used_bench import FUNCTION, UsedBench

from tailrace_hw.virtio.interfaces import QueueNotify, Segment, TakeAction, TakeRequest
from tailrace_sim.dma_host import ReadAgent, WriteAgent
from tailrace_sim.stream_ports import Codec, Sink, Source

__all__ = ["EngineBench"]

NOTIFY = Codec(QueueNotify)
SEGMENT = Codec(Segment)
TAKE = Codec(TakeRequest)
TAKES = (TakeAction.TAKE, TakeAction.TAKE_COMMIT)


class EngineBench(UsedBench):
    """The device keeps, for each queue, how many chains it holds, and how many it may give back."""

    RING, EVENT, COMPLETE = "used", "used_event", "chains__complete"

    def __init__(self, dut, rng, width, *, stall=0.0, latency=(5, 60), delay=(2, 12)):
        super().__init__(dut, rng, width, stall=stall, latency=latency, delay=delay)
        shared = (width, self.memory, self.link, rng, stall)
        self.ring = ReadAgent(dut, "ring", *shared, function=FUNCTION)
        self.chain = ReadAgent(dut, "chain", *shared, function=FUNCTION)
        self.avail_event = WriteAgent(dut, "avail_event", *shared, delay, FUNCTION)
        self.all_reads = [self.ring, self.chain, self.reads]
        self.agents += [self.ring, self.chain, self.avail_event]
        self.notify = Source(dut, "notify", rng, stall)
        self.take = Source(dut, "chains__take", rng, stall)
        segments = Sink(dut, "chains__segments", rng, stall, self._on_segment)
        self.ports += [self.notify, self.take, segments]
        for agent in (self.ring, self.chain, self.avail_event):
            self.ports += agent.ports
        #: Requests without effect so far, in order; segments of the answer that is coming.
        self._asked: deque = deque()
        self._segments: list = []
        self.committed: dict[int, int] = {}
        self.tentative: dict[int, int] = {}
        self.nones = self.rollbacks = 0

    async def enable(self, number):
        driver = self.drivers[number]
        self.committed[number] = self.tentative[number] = 0
        await super().enable(number)
        self.memory.allowed.append(driver.event_area)

    async def reset(self, number):
        await super().reset(number)
        self.memory.allowed.remove(self.drivers[number].event_area)
        assert not self.committed[number]
        assert not self.tentative[number]
        mine = self.areas(number)
        assert not any(a in mine for agent in self.all_reads for a in agent.outstanding)

    # The driver's side

    def post(self, number, slots):
        chain = self.drivers[number].post(slots)
        self.notify.items.append(NOTIFY.pack(queue=number))
        return chain

    # The device's side

    def ask(self, number, action: TakeAction) -> None:
        self.take.items.append(TAKE.pack(queue=number, action=action.value))
        self._asked.append((number, action))
        self._settle()

    @property
    def unanswered(self) -> int:
        return len(self._asked)

    def _settle(self):
        """Carry out what needs no answer and has nothing before it."""
        while self._asked and self._asked[0][1] not in TAKES:
            number, action = self._asked.popleft()
            if action is TakeAction.COMMIT:
                self.committed[number] += self.tentative[number]
            else:
                self.rollbacks += bool(self.tentative[number])
            self.tentative[number] = 0

    def _on_segment(self, word):
        segment = SEGMENT.unpack(word)
        number, action = self._asked[0]
        assert segment.queue == number
        if not segment.last:
            self._segments.append(segment)
            return
        segments, self._segments = [*self._segments, segment], []
        self._asked.popleft()
        if segment.none:
            assert len(segments) == 1
            self.nones += 1
        else:
            self._check(number, segments)
            self.tentative[number] += 1
            if action is TakeAction.TAKE_COMMIT:
                self.committed[number] += self.tentative[number]
                self.tentative[number] = 0
        self._settle()

    def _check(self, number, segments):
        """The answer is the next chain that the driver made available and we don't hold."""
        driver = self.drivers[number]
        position = self.committed[number] + self.tentative[number]
        chain = driver.with_device[position]
        got = [(s.address, s.length, bool(s.writable)) for s in segments]
        assert got == chain.buffers, f"{driver}: {got}, expected {chain.buffers}"
        assert (segments[-1].id, segments[-1].slots) == (chain.id, chain.slots)

    def give_back(self, number, count):
        super().give_back(number, count)
        self.committed[number] -= count
        assert self.committed[number] >= 0
