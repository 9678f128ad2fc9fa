"""Holds each packet against the key table before it is let in."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.crypto.key_table import IV_BITS, Busy, KeyInfo, LastIv
from tailrace_hw.crypto.same_key import same_key
from tailrace_hw.crypto.types import (
    MAX_AAD,
    MAX_LENGTH,
    SELF_TEST_FUNCTION,
    TAG_LENGTHS,
    JobParameters,
    KeyKind,
    KeySize,
    Operation,
    Status,
)
from tailrace_hw.lib.packet import PacketSignature, beat_layout

__all__ = ["KeyCheck", "big_endian", "checked_layout", "is_xts"]


def big_endian(value):
    """The bytes of ``value`` in the other order: a number as standards write it."""
    width = len(value)
    return Cat(value[start : start + 8] for start in range(width - 8, -1, -8))


def is_xts(operation):
    """Whether it is one of the two of XTS."""
    return (operation == Operation.XTS_ENCRYPT) | (operation == Operation.XTS_DECRYPT)


def checked_layout(width: int, rows: int) -> data.StructLayout:
    """A beat with what the table says; the additions are valid with a packet's first beat.

    Members
    -------
    beat : a beat with ``JobParameters``
    first : 1 bit
    status : OK, or why the packet is refused
    row, size : the key's
    """
    return data.StructLayout(
        {
            "beat": beat_layout(width, JobParameters),
            "first": 1,
            "status": Status,
            "row": range(rows),
            "size": KeySize,
        }
    )


class _Early(data.Struct):
    """What is known of a packet before the table has answered."""

    #: LENGTH, AAD_LENGTH, TAG_LENGTH or OK.
    status: Status
    #: The self-test's.
    own: 1
    #: The table does not have such a row.
    no_row: 1
    xts: 1
    encrypts: 1


class KeyCheck(wiring.Component):
    """Looks up the key of each packet and says whether the packet may be worked on.

    The first that is wrong counts: SELF_TEST, LENGTH (above the limit, XTS below a block),
    AAD_LENGTH, TAG_LENGTH, KEY_UNKNOWN, KEY_KIND, IV_REUSED. A strict key's IV is taken note of
    when an encryption with it passes; J0 in place of an IV is refused there, because nothing can
    be said of its order. Latency 1 cycle, a beat a cycle, order kept, nothing dropped.

    A packet that names a key that is ``busy`` waits, and the others behind it; what is behind the
    check already goes on.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    rows : :class:`int`
        Of the key table.

    Members
    -------
    i : In(PacketSignature(width, JobParameters))
    o : Out(stream of :func:`checked_layout`)
    refuse : In(1)
        Every packet is to be refused: SELF_TEST. But the self-test's own pass.
    busy : In(Busy)
    look_row : Out(range(rows))
    look : In(KeyInfo)
    look_iv : In(LastIv)
        Of the row of the cycle before.
    iv_row : Out(range(rows))
    iv_write : Out(1)
    iv_data : Out(LastIv)
    iv_stall : In(1)
        The port of the last IVs is somebody else's in this cycle.
    """

    def __init__(self, width: int, rows: int):
        self._width = width
        self._rows = rows
        super().__init__(
            {
                "i": In(PacketSignature(width, JobParameters)),
                "o": Out(stream.Signature(checked_layout(width, rows))),
                "refuse": In(1),
                "busy": In(Busy),
                "look_row": Out(range(rows)),
                "look": In(KeyInfo),
                "look_iv": In(LastIv),
                "iv_row": Out(range(rows)),
                "iv_write": Out(1),
                "iv_data": Out(LastIv),
                "iv_stall": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal(beat_layout(self._width, JobParameters))
        first = Signal(init=1)
        # The row is looked up again while the beat waits. Fresh: not before the last change.
        occupied, fresh = Signal(), Signal()
        taken, left = Signal(), Signal()
        job = held.meta
        index = exact_log2(self._rows)
        early = self._look_early(m, taken)
        m.d.comb += [
            self.i.ready.eq(~occupied | left),
            taken.eq(self.i.valid & self.i.ready),
            left.eq(self.o.valid & self.o.ready),
            self.look_row.eq(Mux(self.i.ready, self.i.payload.meta.key, job.key)[:index]),
            self.o.valid.eq(occupied & (~first | (fresh & ~self.iv_stall))),
            self.o.payload.beat.eq(held),
            self.o.payload.first.eq(first),
            self.o.payload.row.eq(job.key[:index]),
            self.o.payload.size.eq(self.look.size),
            self.o.payload.status.eq(self._status(m, job, early)),
        ]
        with m.If(taken):
            m.d.sync += [held.eq(self.i.payload), occupied.eq(1)]
        with m.Elif(left):
            m.d.sync += occupied.eq(0)
        with m.If(left):
            m.d.sync += first.eq(held.last)
        # Side by side with ``taken``, not behind it.
        new_waits, held_waits = same_key(self.busy, self.i.payload.meta), same_key(self.busy, job)
        m.d.sync += fresh.eq(~Mux(taken, new_waits, held_waits))

        strict = self.look.strict & early.encrypts
        m.d.comb += [
            self.iv_row.eq(job.key[:index]),
            self.iv_write.eq(left & first & strict & (self.o.payload.status == Status.OK)),
            self.iv_data.used.eq(1),
            self.iv_data.iv.eq(big_endian(job.iv[:IV_BITS])),
        ]
        return m

    def _look_early(self, m, taken):
        """What can be said of a packet without the table: in registers with it, for the path from
        the table through ``_status`` back into the table is long."""
        job, early = self.i.payload.meta, Signal(_Early)
        xts = is_xts(job.operation)
        status = Signal(Status)
        tag = Cat(job.tag_length == length for length in TAG_LENGTHS).any()
        with m.If((job.length > MAX_LENGTH) | (xts & (job.length < 16))):
            m.d.comb += status.eq(Status.LENGTH)
        with m.Elif(~xts & (job.aad_length > MAX_AAD)):
            m.d.comb += status.eq(Status.AAD_LENGTH)
        with m.Elif(~xts & ~tag):
            m.d.comb += status.eq(Status.TAG_LENGTH)
        with m.If(taken):
            m.d.sync += [
                early.status.eq(status),
                early.own.eq(job.function == SELF_TEST_FUNCTION),
                early.no_row.eq(job.key >= self._rows),
                early.xts.eq(xts),
                early.encrypts.eq(job.operation == Operation.GCM_ENCRYPT),
            ]
        return early

    def _status(self, m, job, early):
        status = Signal(Status)
        info, last = self.look, self.look_iv
        unknown = early.no_row | ~info.present | info.part
        reused = job.j0 | (last.used & (big_endian(job.iv[:IV_BITS]) <= last.iv))
        with m.If(self.refuse & ~early.own):
            m.d.comb += status.eq(Status.SELF_TEST)
        with m.Elif(early.status != Status.OK):
            m.d.comb += status.eq(early.status)
        with m.Elif(unknown | (info.owner != job.function)):
            m.d.comb += status.eq(Status.KEY_UNKNOWN)
        with m.Elif((info.kind == KeyKind.XTS) != early.xts):
            m.d.comb += status.eq(Status.KEY_KIND)
        with m.Elif(info.strict & early.encrypts & reused):
            m.d.comb += status.eq(Status.IV_REUSED)
        return status
