"""What is read from the rings themselves (virtio 1.2, 2.7.6 and 2.8.1)."""

from amaranth.hdl import Array

from tailrace_hw.errors import ErrorCode
from tailrace_hw.virtio.fetch_packed import FIRST_WINDOW, LAST_WINDOW
from tailrace_hw.virtio.fetch_types import DESC_F_AVAIL, DESC_F_USED

__all__ = ["RingStates"]


class RingStates:
    """States of the chain assembler that take the data of the ring port.

    Descriptors of a packed ring become segments here, or send the walk through their indirect
    table. Entries of a split ring's available ring become heads.
    """

    def ring_states(self, m):
        with m.State("SCAN"):
            self._scan(m)
        with m.State("EMPTY"):
            self._empty(m)
        with m.State("INDEX"):
            self._index(m)
        with m.State("ENTRIES"):
            self._entries(m)

    def _scan(self, m):
        """Packed ring: descriptors as long as they are available (2.8.1)."""
        judge, ring = self._judge, self.ring
        wrap = self._position[15]
        here = (judge.flags[DESC_F_AVAIL] == wrap) & (judge.flags[DESC_F_USED] != wrap)
        with m.If(~self._ring_open):
            with m.If(self._window != LAST_WINDOW - FIRST_WINDOW):
                m.d.sync += self._window.eq(self._window + 1)
            with m.If(~self._walked):
                self.weigh(m, 0)
            m.next = "FINISH"
        with m.Elif(ring.valid):
            # Whatever it is: ready must not wait for the verdict. None of those that are not good
            # has a table asked for ahead.
            m.d.comb += ring.ready.eq(1)
            m.d.sync += self._ring_open.eq(~ring.payload.last)
            self.note_wrong(m)
            with m.If(~here & ~ring.payload.fault):
                m.next = "EMPTY"
            with m.Elif(judge.error):
                m.next = "FAIL"
            with m.Else():
                m.d.sync += [
                    self._position.eq(self._position + 1),
                    self._left.eq(self._left - 1),
                    self._slots.eq(self._slots + 1),
                    self._id.eq(judge.other),
                ]
                with m.If(self._slots == 0):
                    m.d.sync += self._start.eq(self._position)
                with m.If(judge.indirect):
                    m.d.sync += self._credit.eq(1 << self._job.grain)
                    self.begin_table(m)
                with m.Else():
                    m.d.sync += self._done_slots.eq(self._done_slots + (1 << self._job.grain))
                    self.keep(m, ~judge.follows, judge.other, self._slots + 1)

    def _empty(self, m):
        """The driver has made nothing available here: come back when it notifies."""
        look = self.look.value
        m.d.comb += [self.rewind.valid.eq(1), self.rewind.position.eq(self._position)]
        m.d.sync += self._window.eq(0)
        with m.If(self.rewind.ready):
            self.next_epoch(m)
            # A notification since the read was issued: what it tells of may not have been seen.
            with m.If(look.pending):
                m.d.comb += self.flags.clear.pending.eq(1)
            with m.Else():
                m.d.comb += self.flags.clear.active.eq(1)
            m.next = "DRAIN"

    def _index(self, m):
        """Split ring: the available index (2.7.6)."""
        ring, look = self.ring, self.look.value
        index = ring.payload.raw[:16]
        ahead = (index - self._position)[:16]
        with m.If(ring.valid):
            m.d.comb += ring.ready.eq(1)
            m.d.sync += self._ring_open.eq(0)
            m.next = "FINISH"
            with m.If(ring.payload.fault):
                self.fail(m, ErrorCode.QUEUE_FETCH_FAULT, self._config.driver + 2)
            with m.Elif(ahead > self._config.size):
                self.fail(m, ErrorCode.QUEUE_INDEX_JUMP, index)
            with m.Else():
                m.d.comb += [
                    self.polled.valid.eq(1),
                    self.polled.value.index.eq(index),
                    self.flags.valid.eq(1),
                    self.flags.clear.polling.eq(1),
                ]
                with m.If(ahead != 0):
                    m.d.comb += [self.flags.set.active.eq(1), self.flags.clear.armed.eq(1)]
                with m.Elif(self._config.event_idx & ~look.armed):
                    m.d.comb += self.flags.set.due.eq(1)

    def _entries(self, m):
        """Split ring: entries of the available ring become heads to be read."""
        ring, head = self.ring, self.heads.payload
        entries = Array(ring.payload.raw.word_select(lane, 16) for lane in range(8))
        m.d.comb += [
            head.queue.eq(self._queue),
            head.epoch.eq(self._job.epoch),
            head.grain.eq(self._job.grain),
            head.position.eq(self._position),
            head.head.eq(entries[self._lane]),
        ]
        with m.If(self._left == 0):
            m.next = "DRAIN"
        with m.Elif(ring.valid & ring.payload.fault):
            self.fail(m, ErrorCode.QUEUE_FETCH_FAULT, self._position)
        with m.Elif(ring.valid):
            m.d.comb += self.heads.valid.eq(1)
            m.d.sync += [
                self._left.eq(self._left - 1),
                self._lane.eq(self._lane + 1),
                self._position.eq(self._position + 1),
            ]
            with m.If(self._lane == 7):
                m.d.comb += ring.ready.eq(1)
                m.d.sync += self._ring_open.eq(~ring.payload.last)
