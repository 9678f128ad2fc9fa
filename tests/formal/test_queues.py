"""Stages and FIFOs: nothing lost, duplicated, invented or reordered, and nothing gets stuck.

The argument: the solver picks any item as it enters. From the count of items held at that moment
it is known how many leave before it; when those have left, the very next one must be it. As the
pick is free, this holds for every item, so order is kept, and nothing before it was lost or
doubled. The count of items held and the bounds on waiting complete it.
"""

import pytest
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tailrace_hw.lib import fall_through, fifo, stage
from tailrace_sim.formal import holds, mutant, prove

pytestmark = pytest.mark.formal

BITS = 2


class QueueProof(wiring.Component):
    """Any use of a queue, in one clock domain.

    Parameters
    ----------
    dut : component with streams ``i`` and ``o`` of BITS bits
    capacity : items it may hold
    latency : cycles until an item must be offered, whether or not the reader is ready
    room : items it must take without any leaving
    through : whether an item must be offered in the cycle in which it enters an empty queue
    """

    i_valid: In(1)
    i_payload: In(BITS)
    o_ready: In(1)
    pick: In(1)

    def __init__(self, dut, capacity: int, latency: int, room: int, through: bool = False):
        super().__init__()
        self._dut = dut
        self._capacity = capacity
        self._latency = latency
        self._room = room
        self._through = through

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        put = Signal()
        get = Signal()
        held = Signal(range(self._capacity + 2))
        m.d.comb += [
            dut.i.valid.eq(self.i_valid),
            dut.i.payload.eq(self.i_payload),
            dut.o.ready.eq(self.o_ready),
            put.eq(dut.i.valid & dut.i.ready),
            get.eq(dut.o.valid & dut.o.ready),
            Assert(held <= self._capacity),
            Assert(dut.i.ready | (held >= self._room)),
        ]
        m.d.sync += held.eq(held + put - get)
        with m.If(held == 0):
            # An item that passes an empty queue is none of those that _watch can pick.
            m.d.comb += Assert(dut.o.valid == (put if self._through else 0))
            m.d.comb += Assert(~dut.o.valid | (dut.o.payload == dut.i.payload))
        self._watch(m, put, get, held)
        self._hold(m)
        self._progress(m, held)
        return m

    def _watch(self, m, put, get, held):
        dut = self._dut
        watching = Signal()
        ahead = Signal.like(held)
        item = Signal(BITS)
        stays = ~get | (held != 0)
        with m.If(put & stays & self.pick & ~watching):
            m.d.sync += [watching.eq(1), ahead.eq(held - get), item.eq(dut.i.payload)]
        with m.Elif(watching & get):
            m.d.sync += [ahead.eq(ahead - 1), watching.eq(ahead != 0)]
        with m.If(watching & dut.o.valid & (ahead == 0)):
            m.d.comb += Assert(dut.o.payload == item)

    def _hold(self, m):
        dut = self._dut
        waiting = Signal()
        payload = Signal(BITS)
        m.d.sync += [waiting.eq(dut.o.valid & ~dut.o.ready), payload.eq(dut.o.payload)]
        with m.If(waiting):
            m.d.comb += Assert(dut.o.valid & (dut.o.payload == payload))

    def _progress(self, m, held):
        idle = Signal(range(self._latency + 2))
        with m.If((held != 0) & ~self._dut.o.valid):
            m.d.sync += idle.eq(idle + 1)
        with m.Else():
            m.d.sync += idle.eq(0)
        m.d.comb += Assert(idle < self._latency)


#: name: (module, component from module, capacity, latency, room, whether items pass at once)
QUEUES = {
    "register": (stage, lambda lib: lib.RegisterStage(BITS), 1, 1, 1),
    "skid": (stage, lambda lib: lib.SkidStage(BITS), 2, 1, 2),
    "ready": (stage, lambda lib: lib.ReadyStage(BITS), 1, 1, 1, True),
    "fifo-of-2": (fifo, lambda lib: lib.SyncFifo(BITS, 2), 2, 2, 2),
    "fifo-of-3": (fifo, lambda lib: lib.SyncFifo(BITS, 3), 3, 2, 3),
    "fifo-of-4": (fifo, lambda lib: lib.SyncFifo(BITS, 4), 4, 2, 4),
    "fall-through": (fall_through, lambda lib: lib.FallThroughFifo(BITS, 2), 3, 2, 2, True),
}


@pytest.mark.parametrize("queue", QUEUES)
def test_queue(queue):
    module, make, *bounds = QUEUES[queue]
    prove(QueueProof(make(module), *bounds), queue)


#: name: (queue, source text, what the fault makes of it)
FAULTS = {
    "register-overwrites": ("register", "ready.eq(~self.o.valid | self.o.ready)", "ready.eq(1)"),
    "skid-forgets": ("skid", "[skid_valid.eq(1), ", "[skid_valid.eq(0), "),
    "skid-repeats": ("skid", "| skid_valid), skid_valid.eq(0)]", "| skid_valid)]"),
    "ready-forgets": ("ready", "kept_valid.eq(self.o.valid & ~self.o.ready)", "kept_valid.eq(0)"),
    "ready-overwrites": ("ready", "with m.If(~kept_valid):", "with m.If(1):"),
    "ready-overtakes": ("ready", "Mux(kept_valid, kept, self.i.payload)", "self.i.payload"),
    "fifo-overflows": ("fifo-of-3", "self.level != depth", "self.level != depth + 1"),
    "fifo-wraps-late": ("fifo-of-3", "read_index == depth - 1", "read_index == depth"),
    "fifo-loses-output": ("fifo-of-3", "do_fetch.eq(stored & advance)", "do_fetch.eq(stored)"),
    "fifo-sticks": ("fifo-of-3", " | (self.level[0] & ~self.o.valid)", ""),
    "fifo-repeats": ("fifo-of-3", "(self.level[0] & ~self.o.valid)", "self.level[0]"),
    "fifo-miscounts": ("fifo-of-3", "m.If(do_write != do_read)", "m.If(do_write | do_read)"),
    "fall-through-overtakes": ("fall-through", "empty.eq(queue.level == 0)", "empty.eq(1)"),
    "fall-through-forgets": ("fall-through", "held_valid.eq(1)]", "held_valid.eq(0)]"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_finds(fault):
    queue, old, new = FAULTS[fault]
    module, make, *bounds = QUEUES[queue]
    assert not holds(QueueProof(make(mutant(module, old, new)), *bounds), fault)
