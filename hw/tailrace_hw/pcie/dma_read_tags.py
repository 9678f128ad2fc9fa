"""Tags of outstanding reads: who has which, what came back, what is overdue."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma_read_client import EPOCH_WIDTH
from tailrace_hw.pcie.dma_splitter import MAX_PIECE

__all__ = ["BASE_TAGS", "ReadTags", "TagInfo"]

#: Tags a function may use without the Extended Tag Field Enable bit (PCIe 5.0, 2.2.6.2).
BASE_TAGS = 32
#: Age is counted in units of a 64th of the completion time-out.
_TIMEOUT_UNITS = 64
#: Reads of a function that was switched off or reset are given up sooner.
_DEAD_UNITS = 4
#: A tag that timed out is used again only this long after its request.
_QUARANTINE_UNITS = 192
_AGE_WIDTH = 8


class TagInfo(data.Struct):
    """What was asked for with a tag."""

    #: Low bits of the address of the first byte.
    address: 12
    length: range(MAX_PIECE + 1)
    #: Completions it may be answered with, for the account of those under way.
    completions: 4
    function: 8
    epoch: EPOCH_WIDTH
    #: Time of the request, in units of a 64th of the time-out.
    stamp: _AGE_WIDTH


class ReadTags(wiring.Component):
    """Gives tags out, remembers what they stand for, times them out and takes them back.

    A tag goes through: free, open (its request is out), done (all data or a failure is there),
    free again. One that timed out goes to quarantine before it is free, since its completions may
    still come; they find it closed. Tags from 32 on are used once ``extended`` has been seen.

    Open tags are visited one a cycle, except in cycles with ``take`` or when the visited tag is
    looked up.

    Parameters
    ----------
    tags : :class:`int`
        32 to 256.
    functions : :class:`int`
    timeout : :class:`int`
        Cycles until a read without completion is given up; up to 1/32 more pass.

    Members
    -------
    extended : In(1)
    epochs : In(EPOCH_WIDTH) of each function
    free : Out(1), tag : Out(8)
        The next tag to give out.
    count : Out(range(tags + 1))
        Tags that are free.
    take : In(1), info : In(TagInfo), opened : In(1)
        ``tag`` is given out; ``opened`` tells whether a request goes out with it, otherwise it is
        done at once. ``info.stamp`` is filled in here.
    open : Out(tags)
    looks_up : In(1), lookup : In(8), looked_up : Out(TagInfo)
        What an open tag stands for, same cycle; ``looks_up`` when a completion asks.
    close_valid, close_tag : In
        No more completions are expected for an open tag, which is looked up in this cycle.
        ``finish`` follows.
    finish_valid, finish_tag : In
        All data of a closed tag is in place.
    done, expired : Out(tags)
        ``expired`` marks those among the done that timed out.
    expire_valid : Out(1), expire_completions : Out
        A tag times out in this cycle: what it had under way.
    release_valid, release_tag, release_late : In
        A done tag has been read out; with ``release_late`` completions may still come for it.
    """

    def __init__(self, tags: int, functions: int, timeout: int):
        if not BASE_TAGS <= tags <= 256:
            raise ValueError("there are 32 to 256 tags")
        if timeout < _TIMEOUT_UNITS:
            raise ValueError(f"the completion time-out is at least {_TIMEOUT_UNITS} cycles")
        self.tags = tags
        self.timeout = timeout
        super().__init__(
            {
                "extended": In(1),
                "epochs": In(EPOCH_WIDTH).array(functions),
                "free": Out(1),
                "tag": Out(8),
                "count": Out(range(tags + 1)),
                "take": In(1),
                "info": In(TagInfo),
                "opened": In(1),
                "open": Out(tags),
                "looks_up": In(1),
                "lookup": In(8),
                "looked_up": Out(TagInfo),
                "close_valid": In(1),
                "close_tag": In(8),
                "finish_valid": In(1),
                "finish_tag": In(8),
                "done": Out(tags),
                "expired": Out(tags),
                "expire_valid": Out(1),
                "expire_completions": Out(4),
                "release_valid": In(1),
                "release_tag": In(8),
                "release_late": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._quarantine = Signal(self.tags)
        self._visited = Signal(range(self.tags))
        #: The visited tag's quarantine is over; it is given back if nothing else is in this cycle.
        self._recover = Signal()
        self._recovered = Signal()
        m.submodules.storage = storage = memory.Memory(shape=TagInfo, depth=self.tags, init=[])
        now = self._clock(m)
        self._storage(m, storage, now)
        self._free_list(m)
        self._visit(m, storage, now)
        self._states(m)
        return m

    def _clock(self, m):
        """Time in units of a 64th of the time-out."""
        now = Signal(_AGE_WIDTH)
        unit = max(1, self.timeout // _TIMEOUT_UNITS)
        prescaler = Signal(range(unit))
        with m.If(prescaler == unit - 1):
            m.d.sync += [prescaler.eq(0), now.eq(now + 1)]
        with m.Else():
            m.d.sync += prescaler.eq(prescaler + 1)
        return now

    def _storage(self, m, storage, now):
        write = storage.write_port()
        lookup = storage.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.tag),
            write.data.eq(self.info),
            write.data.stamp.eq(now),
            write.en.eq(self.take),
            lookup.addr.eq(self.lookup),
            self.looked_up.eq(lookup.data),
        ]

    def _free_list(self, m):
        """Tags to give out, in a queue so that one that was just freed is used last."""
        m.submodules.free_list = queue = SyncFifo(8, self.tags)
        #: Tags that have never been used yet start here.
        fresh = Signal(range(self.tags + 1))
        fill, give = Signal(), Signal()
        m.d.comb += [
            give.eq(self.release_valid & ~self.release_late),
            self._recovered.eq(self._recover & ~give),
            fill.eq(
                ~give & ~self._recover & (fresh != self.tags)
                & ((fresh < BASE_TAGS) | self.extended)
            ),
            queue.i.valid.eq(give | self._recover | fill),
            queue.i.payload.eq(Mux(give, self.release_tag, Mux(fill, fresh, self._visited))),
            self.free.eq(queue.o.valid),
            self.tag.eq(queue.o.payload),
            queue.o.ready.eq(self.take),
            self.count.eq(queue.level),
        ]  # fmt: skip
        with m.If(fill):
            m.d.sync += fresh.eq(fresh + 1)

    def _visit(self, m, storage, now):
        """Look at one tag a cycle: is it overdue, is its quarantine over?"""
        port = storage.read_port(domain="comb")
        age = Signal(_AGE_WIDTH)
        dead, overdue = Signal(), Signal()
        visited = self._visited
        # A completion may close the visited tag; whether it does is known too late in the cycle.
        busy = self.take | (self.looks_up & (self.lookup == visited))
        m.d.comb += [
            port.addr.eq(visited),
            age.eq(now - port.data.stamp),
            dead.eq(Array(self.epochs)[port.data.function] != port.data.epoch),
            overdue.eq((age > _TIMEOUT_UNITS) | (dead & (age > _DEAD_UNITS))),
            self.expire_valid.eq(self.open.bit_select(visited, 1) & overdue & ~busy),
            self.expire_completions.eq(port.data.completions),
            self._recover.eq(
                self._quarantine.bit_select(visited, 1) & (age >= _QUARANTINE_UNITS) & ~busy
            ),
        ]
        with m.If(~busy & ~(self._recover & ~self._recovered)):
            m.d.sync += visited.eq(Mux(visited == self.tags - 1, 0, visited + 1))

    def _states(self, m):
        """One bit a tag for each state."""
        bits = ceil_log2(self.tags)

        def one_hot(valid, tag):
            return (valid << tag[:bits])[: self.tags]

        taken = one_hot(self.take, self.tag)
        opened = one_hot(self.take & self.opened, self.tag)
        expired = one_hot(self.expire_valid, self._visited)
        closed = one_hot(self.close_valid, self.close_tag)
        finished = one_hot(self.finish_valid, self.finish_tag)
        m.d.sync += [
            self.open.eq(self.open & ~expired & ~closed | opened),
            self.done.eq((self.done | expired | finished) & ~opened | taken & ~opened),
            self.expired.eq((self.expired | expired) & ~taken),
            self._quarantine.eq(
                self._quarantine & ~one_hot(self._recovered, self._visited)
                | one_hot(self.release_valid & self.release_late, self.release_tag)
            ),
        ]
