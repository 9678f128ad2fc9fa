"""What is known of each key beside its bits: whose it is, what it is for, its last IV."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.crypto.types import KeyKind, KeySize

__all__ = ["IV_BITS", "Busy", "KeyInfo", "KeyTable", "LastIv"]

#: GCM's usual IV (SP 800-38D, 5.2.1.1).
IV_BITS = 96


class KeyInfo(data.Struct):
    """One row."""

    present: 1
    #: Not the first row of an XTS key: nobody can name it.
    part: 1
    owner: 8
    kind: KeyKind
    size: KeySize
    strict: 1


class LastIv(data.Struct):
    """The last IV that a strict key encrypted with, as the big-endian number."""

    used: 1
    iv: IV_BITS


class Busy(data.Struct):
    """Keys that no new packet may use for the moment."""

    valid: 1
    #: Every key: what is there is being erased after reset.
    everyone: 1
    #: All of ``function``; else of ``key``, and with ``group`` of the rows beside it as well.
    all: 1
    group: 1
    function: 8
    key: 16


class KeyTable(wiring.Component):
    """Two small RAMs beside those with the keys' bits.

    Each read takes 1 cycle, and sees a write of the same cycle.

    Parameters
    ----------
    rows : :class:`int`
        A power of two, at least 4.

    Members
    -------
    look_row : In(range(rows))
    look : Out(KeyInfo)
    look_iv : Out(LastIv)
        What packets are checked with.
    row : In(range(rows))
    info : Out(KeyInfo)
        What requests to the table are checked with.
    write : In(1)
    write_info : In(KeyInfo)
        Into ``row``.
    iv_row : In(range(rows))
    iv_write : In(1)
    iv_data : In(LastIv)
    """

    def __init__(self, rows: int):
        exact_log2(rows)
        self._rows = rows
        super().__init__(
            {
                "look_row": In(range(rows)),
                "look": Out(KeyInfo),
                "look_iv": Out(LastIv),
                "row": In(range(rows)),
                "info": Out(KeyInfo),
                "write": In(1),
                "write_info": In(KeyInfo),
                "iv_row": In(range(rows)),
                "iv_write": In(1),
                "iv_data": In(LastIv),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.infos = infos = memory.Memory(shape=KeyInfo, depth=self._rows, init=[])
        m.submodules.last_ivs = ivs = memory.Memory(shape=LastIv, depth=self._rows, init=[])
        write, iv_write = infos.write_port(), ivs.write_port()
        look = infos.read_port(transparent_for=(write,))
        asked = infos.read_port(transparent_for=(write,))
        look_iv = ivs.read_port()
        # What is written is seen by the look of the same cycle. Whether it is written is known last
        # of all, so it goes into a register of its own, beside the comparison of the rows.
        written, same_row, fresh_iv = Signal(), Signal(), Signal(LastIv)
        m.d.sync += [
            written.eq(self.iv_write),
            same_row.eq(self.iv_row == self.look_row),
            fresh_iv.eq(self.iv_data),
        ]
        m.d.comb += [
            look.addr.eq(self.look_row),
            look_iv.addr.eq(self.look_row),
            self.look.eq(look.data),
            self.look_iv.eq(Mux(written & same_row, fresh_iv, look_iv.data)),
            asked.addr.eq(self.row),
            self.info.eq(asked.data),
            write.addr.eq(self.row),
            write.data.eq(self.write_info),
            write.en.eq(self.write),
            iv_write.addr.eq(self.iv_row),
            iv_write.data.eq(self.iv_data),
            iv_write.en.eq(self.iv_write),
        ]
        return m
