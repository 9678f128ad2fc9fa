"""AES-GCM and AES-XTS on packet streams, with the key table in hardware."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.crypto.admission import Admission
from tailrace_hw.crypto.commit_fifo import CommitFifo
from tailrace_hw.crypto.datapath import Datapath, Timing
from tailrace_hw.crypto.key_check import KeyCheck
from tailrace_hw.crypto.key_expander import KeyExpander
from tailrace_hw.crypto.key_installer import KeyAnswer, KeyInstaller
from tailrace_hw.crypto.key_store import AAD_BLOCKS
from tailrace_hw.crypto.key_table import KeyTable
from tailrace_hw.crypto.types import (
    GROUP,
    MAX_LENGTH,
    SELF_TEST_FUNCTION,
    STAGES,
    JobParameters,
    KeyCommand,
    Operation,
    OutputMeta,
    Result,
    SelfTestFault,
    Status,
)
from tailrace_hw.lib.packet import WIDTHS, PacketSignature, beat_layout
from tailrace_hw.lib.result_queue import ResultQueue
from tailrace_hw.lib.stage import SkidStage
from tailrace_hw.lib.width import WidthConverter

__all__ = ["CipherEngine"]


class CipherEngine(wiring.Component):
    """Enciphers and deciphers packets: AES-GCM (SP 800-38D) and AES-XTS (IEEE 1619).

    What is to be done with a packet is in its metadata (``JobParameters``). In order, each packet
    gives one ``Result``, and if it is in order and has a payload, one packet on ``o`` of the same
    length. Packets of any keys and operations follow each other without a bubble.

    * GCM_ENCRYPT, XTS: beats leave as they are done. GCM_DECRYPT: a packet leaves when its tag has
      been found right; of one with a wrong tag nothing leaves but its ``Result``.
    * A refused packet (``Status``) is taken whole and gives no packet. One with another length
      than it says is dropped like one with a wrong tag if it is GCM_DECRYPT; else what leaves is
      cut off at ``length``, and the result says LENGTH.
    * A result may come before its packet has left ``o``.

    Rate: a beat a cycle; a packet with a blocks of additional data takes at least a cycles, an XTS
    data unit with ciphertext stealing at least 2, and so do the few cycles that an installation
    of a key takes. Latency from a beat's entry to ``o``: ``latency`` cycles, or of the last beat
    of a GCM_DECRYPT. It depends on lengths and on what is ahead, never on keys or data. When ``o``
    or ``results`` are not taken, ``i`` waits; nothing is dropped.

    Keys come on ``keys`` and are answered on ``key_answers``, see ``KeyInstaller``. They can't be
    read back. After reset all rows are erased first; packets wait for it.

    Parameters
    ----------
    width : :class:`int`
        Datapath width in bits.
    keys : :class:`int`
        Rows of the key table, a power of two from 4 to 65536.
    xts : :class:`bool`
        With XTS. Without, the lanes are smaller and packets wait ``SideLane.latency`` cycles less.
    kept : :class:`int`
        Rows at the end of the key table that are the self-test's alone.

    Members
    -------
    i : In(PacketSignature(width, JobParameters))
    o : Out(PacketSignature(width, OutputMeta))
    results : Out(stream of Result)
    keys : In(stream of KeyCommand)
    key_answers : Out(stream of KeyAnswer)
    refuse : In(1)
        Refuse every packet that enters: SELF_TEST. But the self-test's own pass.
    fault : In(SelfTestFault)
        Faults to make with the self-test's keys, while they are installed.
    ready : Out(1)
        The erasure after reset is over.
    """

    def __init__(self, width: int, keys: int = 1024, *, xts: bool = True, kept: int = 0):
        if width not in WIDTHS:
            raise ValueError(f"width must be one of {WIDTHS}, not {width}")
        if not GROUP <= keys <= 1 << 16 or keys & (keys - 1):
            raise ValueError(f"keys must be a power of two from {GROUP} to 65536, not {keys}")
        self._width = width
        self._inner = max(width, 128)
        self._lanes = self._inner // 128
        self._keys = keys
        self._xts = xts
        self._kept = kept
        self._timing = Timing(self._lanes, xts=xts)
        super().__init__(
            {
                "i": In(PacketSignature(width, JobParameters)),
                "o": Out(PacketSignature(width, OutputMeta)),
                "results": Out(stream.Signature(Result)),
                "keys": In(stream.Signature(KeyCommand)),
                "key_answers": Out(stream.Signature(KeyAnswer)),
                "refuse": In(1),
                "fault": In(SelfTestFault),
                "ready": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat offered on an idle ``i`` to the same beat on ``o``."""
        widths = 2 if self._width < self._inner else 0
        # Skid stage, check, entry and its register; then the datapath, the queue.
        return widths + 4 + self._timing.done + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.skid = skid = SkidStage(beat_layout(self._inner, JobParameters))
        m.submodules.check = check = KeyCheck(self._inner, self._keys)
        m.submodules.admission = admission = Admission(
            self._lanes, self._keys, KeyExpander.claim_ahead, self._timing.steal
        )
        m.submodules.datapath = datapath = Datapath(self._lanes, self._keys, xts=self._xts)
        depth = 2 * MAX_LENGTH // (self._inner // 8)
        m.submodules.commit = commit = CommitFifo(self._inner, OutputMeta, depth)
        results_depth = 1 << (self._timing.done + 6).bit_length()
        m.submodules.outcomes = outcomes = ResultQueue(Result, results_depth)

        if self._width == self._inner:
            connect(m, flipped(self.i), skid.i)
            connect(m, commit.o, flipped(self.o))
        else:
            m.submodules.widen = widen = WidthConverter(self._width, self._inner, JobParameters)
            m.submodules.narrow = narrow = WidthConverter(self._inner, self._width, OutputMeta)
            connect(m, flipped(self.i), widen.i)
            connect(m, widen.o, skid.i)
            connect(m, commit.o, narrow.i)
            connect(m, narrow.o, flipped(self.o))
        connect(m, skid.o, check.i)
        connect(m, check.o, admission.i)
        connect(m, admission.work, datapath.i)
        connect(m, outcomes.o, flipped(self.results))
        m.d.comb += [
            check.refuse.eq(self.refuse),
            datapath.job.eq(admission.job),
            admission.room.eq(commit.room),
            commit.reserve.eq(admission.reserve),
            admission.result_ready.eq(outcomes.ready),
            outcomes.start.eq(admission.result_start),
        ]
        self._keep_keys(m, check, admission, datapath)
        self._finish(m, datapath, commit, outcomes)
        return m

    def _keep_keys(self, m, check, admission, datapath):
        """Key table, installer and expander."""
        drain = self._timing.drain + 2
        m.submodules.table = table = KeyTable(self._keys)
        m.submodules.installer = installer = KeyInstaller(
            self._keys, drain, settle=STAGES, kept=self._kept
        )
        m.submodules.expander = expander = KeyExpander(max(self._lanes + 1, AAD_BLOCKS))
        connect(m, flipped(self.keys), installer.i)
        connect(m, installer.o, flipped(self.key_answers))
        connect(m, installer.expand, expander.i)
        connect(m, datapath.hash_key, expander.hash_key)
        connect(m, datapath.product, expander.product)
        connect(m, expander.factors, datapath.factors)
        since = Signal(range(drain + 1))
        with m.If(admission.work.valid):
            m.d.sync += since.eq(drain)
        with m.Elif(since != 0):
            m.d.sync += since.eq(since - 1)
        # Users' keys are never touched by it: the command under way is the self-test's.
        fault = Signal(SelfTestFault)
        with m.If(installer.o.payload.function == SELF_TEST_FUNCTION):
            m.d.comb += fault.eq(self.fault)
        # Which row's IV to forget is known a cycle late, so that the check, which it stalls, has it
        # from a register. ``busy`` falls a cycle later still.
        iv_clear, cleared = Signal(), Signal.like(installer.row)
        m.d.sync += [iv_clear.eq(installer.iv_clear), cleared.eq(installer.row)]
        m.d.comb += [
            self.ready.eq(installer.ready),
            installer.expanded.eq(expander.done),
            installer.in_use.eq(admission.in_use),
            installer.quiet.eq((since == 0) & ~admission.work.valid),
            check.busy.eq(installer.busy),
            admission.busy.eq(installer.busy),
            table.look_row.eq(check.look_row),
            check.look.eq(table.look),
            check.look_iv.eq(table.look_iv),
            table.row.eq(installer.row),
            installer.info.eq(table.info),
            table.write.eq(installer.write),
            table.write_info.eq(installer.write_info),
            check.iv_stall.eq(iv_clear),
            table.iv_row.eq(Mux(iv_clear, cleared, check.iv_row)),
            table.iv_write.eq(iv_clear | check.iv_write),
            table.iv_data.eq(Mux(iv_clear, 0, check.iv_data)),
            admission.claim.eq(expander.claim),
            admission.far.eq(expander.far),
            expander.granted.eq(admission.granted),
            datapath.use.eq(expander.side),
            datapath.write_key.eq(expander.write_key ^ fault.round_key),
            datapath.power_write.eq(expander.power_write),
            datapath.power_data.eq(expander.power_data ^ fault.hash_key),
        ]

    def _finish(self, m, datapath, commit, outcomes):
        """Beats to the output queue, and how each packet has ended."""
        done, valid = datapath.o.payload, datapath.o.valid
        work = done.work
        deciphers = work.operation == Operation.GCM_DECRYPT
        fails = deciphers & ~done.tag.match
        good = work.status == Status.OK
        size_bits = exact_log2(self._inner // 8)
        into, beat, result = commit.i.payload, commit.i.payload.beat, outcomes.i.payload
        m.d.comb += [
            commit.i.valid.eq(valid & work.write),
            commit.release.eq(valid & ~work.write),
            into.stream.eq(~deciphers),
            into.keep.eq(good & ~fails),
            beat.data.eq(work.data),
            beat.last.eq(work.end),
            # Bytes of a beat with a payload: 1 to all.
            beat.empty.eq((self._inner // 8 - work.bytes)[:size_bits]),
            beat.meta.function.eq(work.function),
            beat.meta.job.eq(work.job),
            outcomes.i.valid.eq(valid & work.last),
            result.status.eq(Mux(good & fails, Status.AUTHENTICATION_FAILED, work.status)),
            result.function.eq(work.function),
            result.job.eq(work.job),
            result.key.eq(work.key),
            result.tag.eq(Mux(good & (work.operation == Operation.GCM_ENCRYPT), done.tag.tag, 0)),
        ]
