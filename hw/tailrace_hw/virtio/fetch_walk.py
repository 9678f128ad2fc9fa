"""The walk of a chain through a descriptor table (virtio 1.2, 2.7.5, 2.7.5.3, 2.8.7)."""

from amaranth.hdl import Mux, Signal
from amaranth.lib import stream

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_types import BATCH, HEAD_BURST, Chunk, JobKind

__all__ = ["WalkStates"]

#: Cycles between two looks for room while a chain is being given.
PAUSE = 3


class WalkStates:
    """States of the chain assembler that follow a chain from descriptor to descriptor.

    A table is read in bursts from the descriptor that is wanted on. Chunks are skipped until the
    wanted one is there; when a burst ends before, the next is read. The first burst of a split
    chain is that of its head, on the ring port; that of a table may have been asked for ahead.
    Packed tables are read in order, split tables by ``next``.
    """

    def walk_registers(self, m):
        #: Data of tables asked for ahead, or of ``request``: what is walked through.
        self.chain = chain = stream.Signature(Chunk).create(path=("chain",))
        self.from_table = Signal()
        for source, here in ((self.asked, ~self.from_table), (self.tables, self.from_table)):
            m.d.comb += source.ready.eq(chain.ready & here)
            with m.If(here):
                m.d.comb += [chain.valid.eq(source.valid), chain.payload.eq(source.payload)]
        self._walking = Signal()
        #: A chain of this job went through a table.
        self._walked = Signal()
        self._on_chain = Signal()
        self._chain_open = Signal()
        #: Packets of table data that were asked for and are not needed.
        self._owed = Signal(4)
        self._in_table = Signal()
        self._table = Signal(64)
        self._entries_in_table = Signal(16)
        #: Index of the descriptor that comes next in the chain, and of the chunk that is in front.
        self._wanted = Signal(16)
        self._front = Signal(16)
        self._address = Signal(64)
        self._burst = Signal(4)
        #: Room in the cache at the last look, how far it was freed, and whether reads held any.
        self._room = Signal(self._slot_bits)
        self._freed = Signal(self._slot_bits)
        self._others = Signal()
        self._pause = Signal(range(PAUSE + 1))

    def weigh(self, m, size):
        """Learns from a chain (``size``: bits of its length - 1) what the next are likely to need.

        It rises at once, for a chain that does not fit costs a second fetch, and falls slowly.
        """
        limit = min(self._slot_bits - 3, 7)
        with m.If(size > limit):
            m.d.sync += self._weight.eq(limit)
        with m.Elif(size >= self._weight):
            m.d.sync += self._weight.eq(size)
        with m.Else():
            m.d.sync += self._weight.eq(self._weight - 1)

    def begin_head(self, m):
        """Split ring: the chain begins with the descriptor whose chunk is in front."""
        config, job = self.config.value, self._job
        m.d.sync += [
            self._walking.eq(1),
            self._table.eq(config.desc),
            self._entries_in_table.eq(config.size),
            self._wanted.eq(job.head),
            self._front.eq(job.head),
            self._id.eq(job.head),
        ]
        self.forget_chain(m)
        m.next = "WALK"
        with m.If(job.head >= config.size):
            self.fail(m, ErrorCode.QUEUE_DESCRIPTOR_INDEX, job.head)

    def begin_table(self, m):
        """The judged descriptor refers to an indirect table."""
        chunk = self._judge.chunk
        m.d.sync += [
            self._walking.eq(1),
            self._in_table.eq(1),
            self._table.eq(chunk.address),
            self._entries_in_table.eq(chunk.length >> 4),
            self._wanted.eq(0),
        ]
        m.next = "CLOSE"
        with m.If(chunk.table):
            m.d.sync += [
                self.from_table.eq(1),
                self._chain_open.eq(1),
                self._on_chain.eq(1),
                self._front.eq(0),
            ]
            m.next = "WALK"

    def walk_states(self, m):
        with m.State("WALK"):
            self._walk(m)
        with m.State("CLOSE"):
            self._close(m)
        with m.State("ASK"):
            self._ask(m)
        with m.State("LEAVE"):
            self._leave(m)
        self._room_states(m)
        with m.State("RETRY"):
            self._retry(m)

    def _walk(self, m):
        chunk = self._judge.chunk
        open_ = Mux(self._on_chain, self._chain_open, self._ring_open)
        valid = Mux(self._on_chain, self.chain.valid, self.ring.valid)
        with m.If(~open_):
            m.next = "CLOSE"
        with m.Elif(valid):
            # Whatever it is: ready must not wait for the verdict.
            skipped = self._front != self._wanted
            with m.If(skipped | (self._credit != 0)):
                self._consume(m)
            with m.If(~skipped | chunk.fault):
                self._follow(m)

    def _follow(self, m):
        """The chunk in front is the descriptor that is wanted, or of a burst that failed."""
        judge = self._judge
        self.note_wrong(m)
        with m.If(judge.error):
            m.next = "FAIL"
        with m.Elif(self._credit == 0):
            m.next = "ROOM"
        with m.Elif(judge.indirect):
            self.begin_table(m)
        with m.Else():
            m.d.sync += [
                self._credit.eq(self._credit - 1),
                self._done_slots.eq(self._done_slots + 1),
            ]
            self._advance(m)

    def _consume(self, m):
        m.d.sync += self._front.eq(self._front + 1)
        last = self._judge.chunk.last
        with m.If(self._on_chain):
            m.d.comb += self.chain.ready.eq(1)
            m.d.sync += self._chain_open.eq(~last)
        with m.Else():
            m.d.comb += self.ring.ready.eq(1)
            m.d.sync += self._ring_open.eq(~last)

    def _advance(self, m):
        """Keeps the judged descriptor and turns to the next."""
        judge, packed = self._judge, self._config.packed_ring
        following = Signal(16)
        follows = Signal()
        m.d.comb += [
            following.eq(Mux(packed, self._wanted + 1, judge.other)),
            follows.eq(Mux(packed, following != self._entries_in_table, judge.follows)),
        ]
        m.d.sync += self._wanted.eq(following)
        self.keep(m, ~follows, self._id, Mux(packed, self._slots, 1))
        size = Signal(range(17))
        for bit in range(16):
            with m.If(self._count[bit]):
                m.d.comb += size.eq(bit + 1)
        with m.If(~follows):
            m.d.sync += self._walked.eq(1)
            self.weigh(m, size)
            m.next = "LEAVE"
        with m.Elif(following >= self._entries_in_table):
            self.fail(m, ErrorCode.QUEUE_DESCRIPTOR_INDEX, following)

    def _close(self, m):
        """Lets go of the burst before, and sizes the next."""
        behind = (self._entries_in_table - self._wanted)[:16]
        # A table is one chain; in the ring's own table, only neighbours are likely to be of it.
        burst = Mux(self._in_table, BATCH, HEAD_BURST)
        m.d.sync += [
            self._address.eq(self._table + (self._wanted << 4)),
            self._burst.eq(Mux(behind < burst, behind, burst)),
        ]
        m.d.comb += self.chain.ready.eq(self._chain_open)
        with m.If(self.chain.valid & self.chain.payload.last):
            m.d.sync += self._chain_open.eq(0)
        with m.If(~self._chain_open):
            m.next = "ASK"
            with m.If(self._gone()):
                m.next = "DRAIN"

    def _ask(self, m):
        request = self.request.payload
        m.d.comb += [
            self.request.valid.eq(1),
            request.function.eq(self.function),
            request.address.eq(self._address),
            request.length.eq(self._burst << 4),
            request.tag.eq(self._queue),
        ]
        with m.If(self.request.ready):
            m.d.sync += [
                self.from_table.eq(0),
                self._chain_open.eq(1),
                self._on_chain.eq(1),
                self._front.eq(self._wanted),
            ]
            m.next = "WALK"

    def _leave(self, m):
        """The chain is whole; a packed batch may go on behind it."""
        m.d.comb += self.chain.ready.eq(self._chain_open)
        with m.If(self.chain.valid & self.chain.payload.last):
            m.d.sync += self._chain_open.eq(0)
        with m.If(~self._chain_open):
            m.d.sync += [
                self._walking.eq(0),
                self._in_table.eq(0),
                self._on_chain.eq(0),
                self._credit.eq(0),
                self._done_slots.eq(self._done_slots + self._credit),
            ]
            m.next = "DRAIN"
            with m.If(self._job.kind == JobKind.PACKED):
                m.next = "SCAN"

    def _room_states(self, m):
        """Takes cache slots for up to a burst while no other part does."""
        held = self.issued.value.slots - self._done_slots
        used = self._written - self.taken.value.freed
        streamed = self.streaming & (self.streaming_queue == self._queue)
        grant = Signal(4)
        m.d.comb += grant.eq(Mux(self._room < BATCH, self._room, BATCH))
        with m.State("ROOM"):
            m.d.comb += self.hold.eq(1)
            with m.If(self.quiet):
                m.next = "ROOM_COUNT"
        with m.State("ROOM_COUNT"):
            m.d.comb += self.hold.eq(1)
            m.d.sync += [
                self._room.eq(self._depth - used - held),
                self._freed.eq(self.taken.value.freed),
                self._others.eq(held != 0),
            ]
            m.next = "ROOM_TAKE"
        with m.State("ROOM_TAKE"):
            m.d.comb += self.hold.eq(1)
            m.d.sync += self._pause.eq(PAUSE)
            with m.If(self._room != 0):
                m.d.sync += [
                    self._credit.eq(grant),
                    self._done_slots.eq(self._done_slots - grant),
                ]
                m.next = "ROOM_TAKEN"
            with m.Elif(self._gone()):
                m.next = "DRAIN"
            with m.Elif(streamed):
                m.next = "ROOM_PAUSE"
            with m.Else():
                m.next = "RETRY"
        with m.State("ROOM_TAKEN"):
            # The table is written in this cycle.
            m.d.comb += self.hold.eq(1)
            m.next = "WALK"
        with m.State("ROOM_PAUSE"):
            m.d.sync += self._pause.eq(self._pause - 1)
            with m.If(self._pause == 0):
                m.next = "ROOM"

    def _retry(self, m):
        """No room: drop the chain, and fetch it again by itself."""
        # As it was at the look: what was freed since may make room.
        alone = (self._whole == self._freed) & ~self._others
        m.d.comb += [
            self.rewind.valid.eq(1),
            self.rewind.position.eq(self._start),
            self.misfit.valid.eq(1),
            self.misfit.value.cached.eq(~self._others & ~alone),
            self.misfit.value.freed.eq(self._freed),
        ]
        with m.If(self.rewind.ready):
            self.next_epoch(m)
            m.d.comb += [
                self.flags.set.active.eq(1),
                self.flags.set.starved.eq(1),
                self.flags.set.oversize.eq(alone),
            ]
            m.d.sync += self._written.eq(self._whole)
            self.forget_chain(m)
            m.next = "DRAIN"
