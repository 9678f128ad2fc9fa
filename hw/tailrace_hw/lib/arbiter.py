"""Several streams in, one out: who is next."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobinArbiter", "WeightedArbiter"]


def _select(one_hot, values):
    """The one of ``values`` whose bit is set: an AND-OR, flatter than a chain of multiplexers."""
    return reduce(
        or_,
        [
            Value.cast(value) & one_hot[k].replicate(len(Value.cast(value)))
            for k, value in enumerate(values)
        ],
    )


class WeightedArbiter(wiring.Component):
    """Serves its inputs in turn, each for up to ``weights[k]`` items (or packets).

    An input's turn ends when it has had its weight or offers nothing; the turn passes to the next
    input, in circular order, that offers something. So between two turns of an input that keeps
    offering, every other input ``k`` gets at most ``weights[k]`` items: nobody starves, and under
    full load the shares are in proportion to the weights.

    Latency 1 cycle (the output is a register), one item a cycle also when the owner changes, order
    kept within an input, nothing dropped. ``i[k].ready`` depends on ``o.ready`` and on all
    ``valid`` in the same cycle.

    Parameters
    ----------
    shape : shape-like
        Payload of all streams.
    weights : sequence of :class:`int`
        One an input, each at least 1.
    packets : :class:`bool`
        The payload has a member ``last``; an input keeps its turn until ``last`` even while it
        offers nothing, and weights count packets.

    Members
    -------
    i : In(stream), array of len(weights)
    o : Out(stream)
    grant : Out(range(len(weights)))
        Input that the item on ``o`` came from; valid and constant as the payload is.
    """

    def __init__(self, shape, weights, *, packets: bool = False):
        self._weights = tuple(weights)
        if not self._weights or min(self._weights) < 1:
            raise ValueError(f"weights must be at least 1 each, not {self._weights}")
        self._packets = packets
        super().__init__(
            {
                "i": In(stream.Signature(shape)).array(len(self._weights)),
                "o": Out(stream.Signature(shape)),
                "grant": Out(range(len(self._weights))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n = len(self._weights)
        offered = Signal(n)
        chosen = Signal(n)  # one-hot, or 0 when nobody may go
        free = Signal()
        m.d.comb += [
            offered.eq(Cat(i.valid for i in self.i)),
            free.eq(~self.o.valid | self.o.ready),
        ]
        ends = self._choose(m, offered, chosen)
        with m.If(free):
            m.d.sync += self.o.valid.eq(chosen.any())
            m.d.comb += [i.ready.eq(chosen[index]) for index, i in enumerate(self.i)]
            with m.If(chosen.any()):
                m.d.sync += [
                    Value.cast(self.o.payload).eq(_select(chosen, [i.payload for i in self.i])),
                    self.grant.eq(_select(chosen, [Const(k) for k in range(n)])),
                ]
                self._account(m, chosen, ends)
        return m

    def _choose(self, m, offered, chosen):
        """Drive ``chosen`` from who offers; returns whether the chosen item ends a packet."""
        #: One-hot: whose turn it is (it may go on), 0 after its weight is used up.
        self._owner = owner = Signal(len(self._weights))
        #: Inputs after the last owner in circular order, up to the end of the array.
        self._after = after = Signal(len(self._weights))
        #: In the middle of a packet: only the owner may go.
        self._locked = locked = Signal()
        ends = Signal(init=1)
        later = offered & after
        with m.If(locked | (owner & offered).any()):
            m.d.comb += chosen.eq(owner & offered)
        with m.Elif(later.any()):
            m.d.comb += chosen.eq(later & ~(later - 1))
        with m.Else():
            m.d.comb += chosen.eq(offered & ~(offered - 1))
        if self._packets:
            m.d.comb += ends.eq((chosen & Cat(i.payload.last for i in self.i)).any())
        else:
            m.d.comb += ends.eq(1)
        return ends

    def _account(self, m, chosen, ends):
        """An item was taken: who owns the turn from now on, and for how many more."""
        #: Items (packets) the owner may still send in its turn after the current one.
        left = Signal(range(max(self._weights)))
        left_now = Signal.like(left)
        continues = (chosen & self._owner).any()
        n = len(self._weights)
        for index, weight in enumerate(self._weights):
            with m.If(chosen[index]):
                m.d.comb += left_now.eq(Mux(continues, left, weight - 1))
                m.d.sync += self._after.eq((1 << n) - (2 << index))
        m.d.sync += [self._locked.eq(~ends), self._owner.eq(chosen), left.eq(left_now)]
        with m.If(ends):
            m.d.sync += left.eq(left_now - 1)
            with m.If(left_now == 0):
                m.d.sync += self._owner.eq(0)


class RoundRobinArbiter(WeightedArbiter):
    """Serves its inputs in turn, one item (or packet) each: a :class:`WeightedArbiter` whose
    weights are all 1.

    Parameters
    ----------
    shape : shape-like
        Payload of all streams.
    n : :class:`int`
        Inputs.
    packets : :class:`bool`
        As in :class:`WeightedArbiter`.
    """

    def __init__(self, shape, n: int, *, packets: bool = False):
        super().__init__(shape, [1] * n, packets=packets)
