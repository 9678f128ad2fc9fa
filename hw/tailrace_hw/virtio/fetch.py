"""Descriptor fetch: the half of the virtqueue engine that reads the rings."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.dma import DmaReadPort, DmaReadRequest, DmaWritePort
from tailrace_hw.virtio.fetch_ahead import TABLES, TableAhead
from tailrace_hw.virtio.fetch_assemble import ChainAssembler
from tailrace_hw.virtio.fetch_cache import SegmentCache, filled_layout, taken_layout
from tailrace_hw.virtio.fetch_command import QueueCommander
from tailrace_hw.virtio.fetch_event import EventWriter
from tailrace_hw.virtio.fetch_flags import QueueFlags
from tailrace_hw.virtio.fetch_issue import FetchIssue
from tailrace_hw.virtio.fetch_types import (
    BATCH,
    ChainState,
    Chunk,
    Fault,
    Head,
    Job,
    Polled,
    QueueConfig,
    QueueTables,
    misfit_layout,
    progress_layout,
)
from tailrace_hw.virtio.fetch_unpack import ChunkUnpacker
from tailrace_hw.virtio.interfaces import QueueCommand, QueueNotify, Segment, TakeRequest

__all__ = ["DescriptorFetch"]

#: Most queues of an engine: 32 and a control queue.
MAX_QUEUES = 33
#: Heads of split chains that wait for their read.
HEADS = 128


class DescriptorFetch(wiring.Component):
    """Reads what the driver makes available, checks it, and gives it out as chains of segments.

    **Fetching.** A notification makes a queue pending; pending queues are served round robin, one
    read at a time, and many reads are in flight. A packed ring is read ahead in batches of up to 8
    descriptors until one is found that is not available; what was read behind it is dropped. A
    split ring: available index, entries (64 bytes at once), then heads. After a split ring is
    drained, the index is read once more, with EVENT_IDX behind a write of avail_event.

    Indirect tables are read on ``chain``, the first 8 descriptors of up to TABLES tables ahead of
    their turn. What is longer or not in order, and split chains that do not go on in the neighbour,
    is read there too, but one burst after the other; the ring reads of all queues wait for it.

    **Bad rings.** Every descriptor is checked before it is given. An error is reported once on
    ``errors``, and the queue stops: whole chains that are in the cache are still given, then TAKEs
    are answered ``none``. Other queues go on.

    **Taking.** As ChainPort says, and:

    - TAKEs are answered in order. One that has to wait for a fetch holds up those behind it.
    - TAKE_COMMIT also commits what was taken before and not committed.
    - A TAKE whose chain has no room beside chains that were taken and not committed is answered
      ``none`` with ``crowded``; after COMMIT or ROLLBACK it can be asked for again. Chains of
      ``cache_depth`` segments together always have room.
    - A chain of more segments than the cache holds is given to a TAKE_COMMIT while it is fetched.
      A TAKE of it cannot be kept: it is answered ``none`` and fails the queue with
      QUEUE_CHAIN_TOO_LONG. ``available`` is set for such a chain. When it turns out to be bad,
      or the queue is reset, after part of it was given, the answer ends with a segment that has
      ``none`` and ``last`` set.

    **Reset.** RESET and ENABLE stop the queue and wait until no read and no avail_event write of
    it is under way and no segment of it is offered; an answer that was begun must be taken.

    Throughput: packed ring, one descriptor in 3 cycles or better on one queue and on many, with
    250 cycles from request to data, if ``cache_depth`` is at least 128. Split ring under the same
    conditions: one chain in 9 cycles (measured; bound by ``reads`` and HEADS). Chains in tables of
    up to 8 descriptors: see ``table_rates`` in tests/virtio/cocotb_fetch.py. A chain that has
    to be walked on ``chain`` takes a memory round trip for each burst, one chain after the other.
    Out of the cache: one-segment chains in 2 cycles, each further segment 1.

    The DMA engine must not let one port's data that is not taken hold up another port's.

    Parameters
    ----------
    queues : 1 to 33
    width : of the DMA ports, 64 to 1024
    cache_depth : segments a queue, a power of two, at least 16
    max_queue_size : largest ring accepted
    reads : ring reads in flight over all queues, at least 2; a head of a split ring is a read

    Members
    -------
    command, ack : ``In(stream(QueueCommand))``, ``Out(stream(8))``
        One at a time; see :class:`QueueCommander`.
    notify : ``In(stream(QueueNotify))``
        Always ready. For a queue that is not enabled it is dropped.
    take, segments, available : see ChainPort
    ring, chain : ``Out(DmaReadPort(width))``
    event : ``Out(DmaWritePort(width))``
        avail_event writes, one at a time.
    errors : ``Out(stream(ErrorEvent))``
        ``info``: QUEUE_INDEX_JUMP: the index. QUEUE_DESCRIPTOR_INDEX: the index.
        QUEUE_BAD_ADDRESS: the address. QUEUE_LENGTH_TOO_BIG and QUEUE_BAD_INDIRECT: the length.
        QUEUE_BAD_SIZE: the size. Others: the place in the ring or table, for a packed ring with
        the wrap counter in bit 15; for QUEUE_FETCH_FAULT of an index its address.
    function : ``In(8)``
        PCIe function of all DMA and of the errors.
    halt : ``In(1)``
        The device needs a reset: no more reads, every TAKE is answered ``none``.
    """

    def __init__(
        self,
        queues: int,
        width: int = 512,
        cache_depth: int = 128,
        max_queue_size: int = 32768,
        reads: int = 64,
    ):
        if not 1 <= queues <= MAX_QUEUES:
            raise ValueError(f"queues must be 1 to {MAX_QUEUES}, not {queues}")
        if cache_depth < 2 * BATCH:
            raise ValueError(f"cache_depth must be at least {2 * BATCH}, not {cache_depth}")
        self._queues = queues
        self._width = width
        self._depth = cache_depth
        self._max_queue_size = max_queue_size
        self._reads = reads
        self._slot_bits = exact_log2(cache_depth) + 1
        super().__init__(
            {
                "command": In(stream.Signature(QueueCommand)),
                "ack": Out(stream.Signature(8)),
                "notify": In(stream.Signature(QueueNotify)),
                "take": In(stream.Signature(TakeRequest)),
                "segments": Out(stream.Signature(Segment)),
                "available": Out(queues),
                "ring": Out(DmaReadPort(width)),
                "chain": Out(DmaReadPort(width)),
                "event": Out(DmaWritePort(width)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "function": In(8),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queues, depth, slot_bits = self._queues, self._depth, self._slot_bits
        progress = progress_layout(slot_bits)
        parts = (queues, depth, progress, slot_bits)
        self._tables = m.submodules.tables = self._make_tables(progress)
        self._flags = m.submodules.flags = QueueFlags(queues)
        self._issue = m.submodules.issue = FetchIssue(*parts, HEADS)
        self._ahead = m.submodules.ahead = TableAhead(queues)
        self._assembler = m.submodules.assembler = ChainAssembler(*parts)
        self._cache = m.submodules.cache = SegmentCache(*parts)
        self._commander = m.submodules.commander = QueueCommander(
            queues, progress, self._max_queue_size
        )
        self._event = m.submodules.event_writer = EventWriter(self._width)
        self._connect_outside(m)
        self._connect_tables(m)
        self._connect_flags(m)
        self._connect_reads(m)
        self._connect_rest(m)
        return m

    def _make_tables(self, progress) -> QueueTables:
        return QueueTables(
            self._queues,
            {
                "config": QueueConfig,
                "position": 16,
                "issued": progress,
                "done": progress,
                "filled": filled_layout(self._slot_bits),
                "taken": taken_layout(self._slot_bits),
                "polled": Polled,
                "misfit": misfit_layout(self._slot_bits),
                "chain": ChainState,
            },
        )

    def _connect_outside(self, m):
        connect(m, flipped(self.command), self._commander.command)
        connect(m, flipped(self.ack), self._commander.ack)
        connect(m, flipped(self.notify), self._flags.notify)
        connect(m, flipped(self.take), self._cache.take)
        connect(m, flipped(self.segments), self._cache.segments)
        connect(m, flipped(self.errors), self._assembler.errors)
        connect(m, flipped(self.event), self._event.dma)
        m.d.comb += self.available.eq(self._cache.available)
        for part in (self._issue, self._ahead, self._assembler, self._event):
            m.d.comb += part.function.eq(self.function)
        for part in (self._flags, self._issue, self._ahead, self._assembler):
            m.d.comb += part.halt.eq(self.halt)

    def _connect_tables(self, m):
        tables = self._tables
        issue, assembler = self._issue, self._assembler
        cache, commander = self._cache, self._commander
        owners = {
            "config": commander.config,
            "position": issue.position,
            "issued": issue.issued,
            "done": assembler.done,
            "filled": assembler.filled,
            "taken": cache.taken,
            "polled": assembler.polled,
            "misfit": assembler.misfit,
            "chain": assembler.chain_state,
        }
        readers = {
            "config": (issue.config, self._ahead.config, assembler.config),
            "position": (issue.position_now, assembler.position),
            "issued": (issue.issued_now, assembler.issued, cache.issued, commander.issued),
            "done": (issue.done, assembler.done_now, cache.done, commander.done),
            "filled": (issue.filled, assembler.filled_now, cache.filled),
            "taken": (issue.taken, assembler.taken, cache.taken_now),
            "polled": (issue.polled,),
            "misfit": (issue.misfit,),
            "chain": (issue.chain, assembler.chain_now),
        }
        for name, owner in owners.items():
            connect(m, owner, tables.write[name])
            for reader in readers[name]:
                connect(m, reader, tables.read(name))

    def _connect_flags(self, m):
        flags, parts = self._flags, (self._issue, self._assembler, self._cache)
        connect(m, self._commander.flags, flags.replace)
        connect(m, self._ahead.look, flags.looks[len(parts)])
        for number, part in enumerate(parts):
            connect(m, part.flags, flags.ops[number])
            connect(m, part.look, flags.looks[number])
        for number, part in enumerate((self._assembler, self._cache)):
            touch = part.touch
            for listener in (flags.touches[number], self._issue.touches[number]):
                m.d.comb += [listener.valid.eq(touch.valid), listener.queue.eq(touch.queue)]
        m.d.comb += [
            flags.streaming.eq(self._cache.streaming),
            flags.streaming_queue.eq(self._cache.queue),
            flags.event_idle.eq(self._event.i.ready),
            self._issue.want.eq(flags.want),
            self._cache.usable.eq(flags.usable),
            self._cache.oversize.eq(flags.oversize),
        ]

    def _connect_reads(self, m):
        issue, assembler = self._issue, self._assembler
        jobs = m.submodules.jobs = SyncFifo(Job, self._reads)
        heads = m.submodules.heads = SyncFifo(Head, HEADS)
        ring = m.submodules.ring_chunks = ChunkUnpacker(self._width)
        connect(m, issue.jobs, jobs.i)
        connect(m, jobs.o, self._ahead.jobs)
        connect(m, ring.o, self._ahead.ring)
        connect(m, assembler.heads, heads.i)
        connect(m, heads.o, issue.heads)
        connect(m, issue.request, flipped(self.ring.request))
        connect(m, flipped(self.ring.data), ring.i)
        self._connect_tables_ahead(m)

        # A read of entries is issued only if all its heads will find a place.
        free = Signal(range(HEADS + 1), init=HEADS)
        begun = heads.o.valid & heads.o.ready
        m.d.sync += free.eq(free + begun + assembler.heads_returned - issue.heads_claimed)
        m.d.comb += issue.heads_free.eq(free)

    def _connect_tables_ahead(self, m):
        """Ring data waits here for the tables it refers to; their data has a place kept free."""
        ahead, assembler = self._ahead, self._assembler
        jobs = m.submodules.jobs_on = SyncFifo(Job, TABLES)
        ring = m.submodules.ring_on = SyncFifo(Chunk, 2 * TABLES)
        requests = m.submodules.requests = RoundRobinArbiter(DmaReadRequest, 2)
        chunks = m.submodules.chain_chunks = ChunkUnpacker(self._width)
        tables = m.submodules.tables_ahead = SyncFifo(Chunk, BATCH * TABLES)
        connect(m, ahead.jobs_on, jobs.i)
        connect(m, jobs.o, assembler.jobs)
        connect(m, ahead.ring_on, ring.i)
        connect(m, ring.o, assembler.ring)
        connect(m, assembler.request, requests.i[0])
        connect(m, ahead.request, requests.i[1])
        connect(m, requests.o, flipped(self.chain.request))
        connect(m, flipped(self.chain.data), chunks.i)

        chunk = chunks.o
        connect(m, tables.o, assembler.tables)
        m.d.comb += [
            tables.i.payload.eq(chunk.payload),
            tables.i.valid.eq(chunk.valid & chunk.payload.table),
            assembler.asked.payload.eq(chunk.payload),
            assembler.asked.valid.eq(chunk.valid & ~chunk.payload.table),
            chunk.ready.eq(Mux(chunk.payload.table, tables.i.ready, assembler.asked.ready)),
            ahead.returned.eq(tables.o.valid & tables.o.ready & tables.o.payload.last),
            ahead.forget.valid.eq(self._commander.inits[1].valid),
            ahead.forget.queue.eq(self._commander.inits[1].queue),
        ]

    def _connect_rest(self, m):
        issue, assembler = self._issue, self._assembler
        cache, commander, event = self._cache, self._commander, self._event
        faults = m.submodules.faults = RoundRobinArbiter(Fault, 2)
        connect(m, commander.fault, faults.i[0])
        connect(m, cache.fault, faults.i[1])
        connect(m, faults.o, assembler.faults)
        connect(m, issue.event, event.i)
        connect(m, event.o, assembler.events)
        connect(m, assembler.rewind, issue.rewind)
        for number, part in enumerate((issue, assembler, cache)):
            connect(m, commander.inits[number], part.init)
        m.d.comb += [
            issue.hold.eq(assembler.hold),
            assembler.quiet.eq(issue.quiet),
            assembler.streaming.eq(cache.streaming),
            assembler.streaming_queue.eq(cache.queue),
            cache.store.eq(assembler.store),
            cache.store_valid.eq(assembler.store_valid),
            commander.tables_ready.eq(self._tables.ready),
            commander.issue_quiet.eq(issue.quiet),
            commander.fault_pending.eq(cache.fault.valid | faults.o.valid),
            commander.taker_busy.eq(cache.busy),
            commander.taker_queue.eq(cache.queue),
            commander.segment_valid.eq(cache.segments.valid),
            commander.segment_queue.eq(cache.segments.payload.queue),
            commander.event_busy.eq(event.busy),
            commander.event_queue.eq(event.queue),
        ]
