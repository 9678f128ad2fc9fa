"""Lets beats into the rigid part of the engine, when there is a place for all they will need."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.crypto.key_check import checked_layout, is_xts
from tailrace_hw.crypto.key_store import AAD_BLOCKS
from tailrace_hw.crypto.key_table import Busy
from tailrace_hw.crypto.same_key import same_key
from tailrace_hw.crypto.types import STAGES, JobParameters, Status
from tailrace_hw.crypto.work import work_layout
from tailrace_hw.lib.stage import ReadyStage

__all__ = ["Admission"]


class Admission(wiring.Component):
    """Decides in which cycle a beat enters, and what there is to know of it from then on.

    A beat enters when the output has promised it a place. A packet's first beat also waits for

    * a place among the results,
    * a cycle in which the side lane takes no second pass of ciphertext stealing and serves no
      ``claim``,
    * as many cycles since the packet before as this one has blocks of additional data.

    So a packet costs one cycle a beat, or a cycle for each 16 bytes of additional data if that is
    more. The beat before a partial block that is alone in its beat waits until that one is there
    as well, so that the two are in consecutive cycles.

    The packet's real length is held against ``length`` here: what is too much does not go out, and
    the packet ends with LENGTH. Latency 2 cycles, order kept, nothing dropped. ``i.ready`` comes
    from a register, and so does ``work``.

    Parameters
    ----------
    lanes : :class:`int`
        Blocks of 128 bits a beat.
    rows : :class:`int`
        Of the key table.
    claim_ahead, steal_ahead : :class:`int`
        Cycles from a ``claim``, and from a beat with ``steal``, to the cycle that belongs to them.

    Members
    -------
    i : In(stream of ``checked_layout``)
    work : Out(stream of ``work_layout``), always ready
    job : Out(JobParameters)
        Of the packet whose first beat is on ``work``.
    room : In(1)
        The output has a place. ``reserve`` takes it.
    reserve : Out(1)
    result_ready : In(1)
    result_start : Out(1)
        A packet starts; only while ``result_ready``.
    claim : In(1)
        Asks for a cycle without a packet's start.
    far : In(1)
        It is to be ``STAGES`` cycles later.
    granted : Out(1)
        In ``claim_ahead`` cycles, or so much later, there is one. Only with ``claim``.
    busy : In(Busy)
    in_use : Out(1)
        A packet of a ``busy`` key was still on its way in, in the cycle before.
    """

    def __init__(self, lanes: int, rows: int, claim_ahead: int, steal_ahead: int):
        if not 1 < claim_ahead <= steal_ahead - STAGES:
            raise ValueError(f"claims {claim_ahead} ahead must be {STAGES} below {steal_ahead}")
        self._lanes = lanes
        self._rows = rows
        self._claim_ahead = claim_ahead
        self._steal_ahead = steal_ahead
        super().__init__(
            {
                "i": In(stream.Signature(checked_layout(128 * lanes, rows))),
                "work": Out(stream.Signature(work_layout(lanes, rows), always_ready=True)),
                "job": Out(JobParameters),
                "room": In(1),
                "reserve": Out(1),
                "result_ready": In(1),
                "result_start": Out(1),
                "claim": In(1),
                "far": In(1),
                "granted": Out(1),
                "busy": In(Busy),
                "in_use": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        #: Whether a beat enters would go on into the check and its tables.
        m.submodules.ready = ready = ReadyStage(self.i.payload.shape())
        connect(m, flipped(self.i), ready.i)
        i = ready.o
        # The beat that waits to enter, and what is constant for its packet.
        beat = Signal.like(i.payload.beat, name="beat")
        occupied, first = Signal(), Signal()
        packet = Signal.like(i.payload, name="packet")
        job = packet.beat.meta
        enters = Signal()
        taken = Signal()
        m.d.comb += [
            i.ready.eq(~occupied | enters),
            taken.eq(i.valid & i.ready),
        ]
        with m.If(taken):
            m.d.sync += [
                beat.eq(i.payload.beat),
                first.eq(i.payload.first),
                occupied.eq(1),
            ]
            with m.If(i.payload.first):
                m.d.sync += packet.eq(i.payload)
        with m.Elif(enters):
            m.d.sync += occupied.eq(0)

        work = Signal.like(self.work.payload)
        m.d.sync += [
            self.work.valid.eq(enters),
            self.work.payload.eq(work),
            self.job.eq(job),
        ]
        steal_next = self._describe(m, i.payload, beat, first, packet, taken, work)
        blocks = self._blocks(m, i.payload, taken)
        start_allowed = self._slots(m, enters, first, packet, blocks, work.steal)

        # Places in hand: taken ahead, so that what takes them does not wait for what needs them.
        credits = Signal(range(4))
        m.d.comb += [
            enters.eq(
                occupied
                & (credits != 0)
                & (~first | (start_allowed & self.result_ready))
                # Two beats can enter for sure, one right behind the other.
                & (~steal_next | ((credits >= 2) & i.valid))
            ),
            self.reserve.eq(self.room & (credits != 3)),
            self.result_start.eq(enters & first),
        ]
        with m.If(self.reserve != enters):
            m.d.sync += credits.eq(Mux(enters, credits - 1, credits + 1))

        under_way = Signal()
        with m.If(taken & i.payload.first):
            m.d.sync += under_way.eq(1)
        with m.Elif(enters & beat.last):
            m.d.sync += under_way.eq(0)
        # One packet is here, and the first beat of the next may wait in the stage before.
        kept = ~ready.i.ready & i.payload.first
        m.d.sync += self.in_use.eq(
            (under_way & same_key(self.busy, job))
            | (kept & same_key(self.busy, i.payload.beat.meta))
        )
        return m

    def _describe(self, m, new, beat, first, packet, taken, work):
        """Fill in ``work``; returns whether the next beat must follow at once."""
        job = packet.beat.meta
        size = 16 * self._lanes
        bits = exact_log2(size)
        # Beats that should still come, and whether this one should not have.
        remaining, beyond = Signal(15 - bits + 1), Signal()
        # Of the packet: no payload; bytes of its last beat; it has a partial block, and the last
        # beat has nothing else. In registers, for all that waits for the answer.
        empty_packet, tail = Signal(), Signal(range(size + 1))
        partial, alone = Signal(), Signal()
        length, operation = new.beat.meta.length, new.beat.meta.operation
        with m.If(taken):
            with m.If(new.first):
                m.d.sync += [
                    remaining.eq(Mux(length == 0, 0, (length - 1)[bits:15])),
                    beyond.eq(0),
                    empty_packet.eq(length == 0),
                    tail.eq(Mux(length == 0, 0, (length - 1)[:bits] + 1)),
                    partial.eq(is_xts(operation) & (length[:4] != 0)),
                    # The one before it is a beat ahead.
                    alone.eq((length - 1)[:bits] < 15),
                ]
            with m.Elif(remaining == 0):
                m.d.sync += beyond.eq(1)
            with m.Else():
                m.d.sync += remaining.eq(remaining - 1)

        final = ~beyond & (remaining == 0)
        there, used = (Signal(range(size + 1), name=name) for name in ("there", "use"))
        m.d.comb += [
            there.eq(size - beat.empty),
            used.eq(Mux(final & (tail < there), tail, there)),
        ]
        wrong = beyond | (beat.last != final) | (final & ~empty_packet & (tail != there))
        m.d.comb += [
            work.data.eq(beat.data),
            work.first.eq(first),
            work.last.eq(beat.last),
            work.operation.eq(job.operation),
            work.row.eq(packet.row),
            work.size.eq(packet.size),
            work.bytes.eq(Mux(beyond | empty_packet, 0, used)),
            work.count.eq((work.bytes + 15)[4:]),
            work.write.eq((packet.status == Status.OK) & ~beyond & ~empty_packet),
            work.end.eq(final | beat.last),
            work.status.eq(packet.status),
        ]
        with m.If((packet.status == Status.OK) & wrong):
            m.d.comb += work.status.eq(Status.LENGTH)
        for name in ("aad_length", "length", "tag_length", "function", "job", "key"):
            m.d.comb += work[name].eq(job[name])

        steals = partial & (packet.status == Status.OK)
        ahead = ~beyond & (remaining == 1) & alone & ~beat.last
        m.d.comb += work.steal.eq(steals & (ahead | (final & ~alone & (tail == there))))
        return steals & ahead

    @staticmethod
    def _blocks(m, new, taken):
        """Blocks of additional data of the packet that waits, if it is not refused."""
        blocks, job = Signal(range(AAD_BLOCKS + 1)), new.beat.meta
        with m.If(taken & new.first):
            m.d.sync += blocks.eq(Mux(is_xts(job.operation), 0, (job.aad_length + 15)[4:]))
        return blocks

    def _slots(self, m, enters, first, packet, blocks, steal):
        """Whose the cycles of the side lane are; returns whether a packet may start."""
        # Element k: the cycle in k cycles is taken, and by a claim. Seen from here: ``work`` is a
        # cycle behind.
        near = self._claim_ahead - 1
        far = near + STAGES
        reserved = Signal(self._steal_ahead + 1)
        claimed = Signal(far + 1)
        new = Signal(far + 1)
        since = Signal(range(AAD_BLOCKS + 1), init=AAD_BLOCKS)
        steals = enters & steal
        m.d.comb += [
            self.granted.eq(self.claim & ~Mux(self.far, reserved[far], reserved[near])),
            new[near].eq(self.granted & ~self.far),
            new[far].eq(self.granted & self.far),
        ]
        m.d.sync += [
            reserved.eq((reserved | new | (steals << self._steal_ahead)) >> 1),
            claimed.eq((claimed | new) >> 1),
        ]
        with m.If((enters & first) | claimed[0]):
            m.d.sync += since.eq(1)
        with m.Elif(since != AAD_BLOCKS):
            m.d.sync += since.eq(since + 1)
        return ~reserved[0] & ((since >= blocks) | (packet.status != Status.OK))
