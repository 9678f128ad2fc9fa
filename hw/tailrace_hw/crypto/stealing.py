"""Ciphertext stealing: the second pass of a block, and where its results go."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.aes_lane import AesLane
from tailrace_hw.lib.delay import delayed

__all__ = ["Stealing", "steal_layout"]


def steal_layout(lanes: int) -> data.StructLayout:
    """One beat behind the lanes.

    Members
    -------
    data : 128 bits a lane
    steal : the block that has two passes is here
    steal_lane : its lane
    end : the partial block is here as well; without, it is in lane 0 of the next cycle's beat
    rest, tail : bytes of the partial block and the block itself, with the beat that it is in
    steal_tweak : 128 bits, of the second pass
    """
    return data.StructLayout(
        {
            "data": data.ArrayLayout(128, lanes),
            "steal": 1,
            "steal_lane": range(max(lanes, 2)),
            "end": 1,
            "rest": 4,
            "tail": 128,
            "steal_tweak": 128,
        }
    )


class Stealing(wiring.Component):
    """XTS of a data unit that is not a multiple of 16 bytes (IEEE 1619, 5.3.2 and 5.4.2).

    The first pass of the last full block gives, with its first bytes, the partial block of the
    result; its other bytes fill up the partial block that came in, and the second pass of that is
    the full block of the result. The second pass is the side lane's: its block is in ``second``
    ``ask`` cycles behind the beat with ``steal``, its result in ``result`` when that lane has done.

    Beats pass with a latency of ``latency`` cycles, one a cycle, in any state.

    Parameters
    ----------
    lanes : :class:`int`

    Members
    -------
    i : In(stream of :func:`steal_layout`), always ready
    second : Out(128)
    result : In(128)
    o : Out(stream of ``128 * lanes`` bits), always ready
    """

    #: Choice of the block; filling up; then the block is at the lane.
    ask = 2
    #: The result, under its tweak, takes the block's place.
    latency = ask + AesLane.latency + 2

    def __init__(self, lanes: int):
        self._lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(steal_layout(lanes), always_ready=True)),
                "second": Out(128),
                "result": In(128),
                "o": Out(stream.Signature(128 * lanes, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        # One cycle on: the partial block is here, be it in this beat or in the next.
        first_pass = Signal(128, reset_less=True)
        m.d.sync += first_pass.eq(Array(list(beat.data))[beat.steal_lane])
        end_1, rest_1, tail_1, tweak_1 = (
            delayed(m, beat[name], 1, name) for name in ("end", "rest", "tail", "steal_tweak")
        )
        tail = Mux(end_1, tail_1, beat.tail)
        rest = Mux(end_1, rest_1, beat.rest)
        filled = Cat(
            Mux(index < rest, tail.word_select(index, 8), first_pass.word_select(index, 8))
            for index in range(16)
        )
        m.d.sync += self.second.eq(filled ^ tweak_1)

        # And when the second pass is back.
        whole = Signal(128, reset_less=True)
        tweak = delayed(m, tweak_1, self.latency - 3, "tweak")
        m.d.sync += whole.eq(self.result ^ tweak)
        stolen = delayed(m, first_pass, self.latency - 2, "stolen")
        self._patch(m, whole, stolen)
        return m

    def _patch(self, m, whole, stolen):
        """Put both results in their places, in the last cycle."""
        wait = self.latency - 1
        beat = self.i.payload
        steal = delayed(m, beat.steal & self.i.valid, wait, "steal_then", reset=True)
        lane_of, end, rest = (
            delayed(m, beat[name], wait, f"{name}_then") for name in ("steal_lane", "end", "rest")
        )
        carried, to_next = Signal(128, reset_less=True), Signal()
        m.d.sync += [carried.eq(stolen), to_next.eq(steal & ~end)]
        source = Mux(to_next, carried, stolen)
        partial = Cat(Mux(index < rest, source.word_select(index, 8), 0) for index in range(16))
        m.d.sync += self.o.valid.eq(delayed(m, self.i.valid, wait, "valid_then", reset=True))
        for lane in range(self._lanes):
            word = delayed(m, beat.data[lane], wait, f"lane{lane}")
            out = self.o.payload.word_select(lane, 128)
            m.d.sync += out.eq(word)
            with m.If(steal & (lane_of == lane)):
                m.d.sync += out.eq(whole)
            if lane:
                with m.Elif(steal & end & (lane_of == lane - 1)):
                    m.d.sync += out.eq(partial)
            else:
                with m.Elif(to_next):
                    m.d.sync += out.eq(partial)
