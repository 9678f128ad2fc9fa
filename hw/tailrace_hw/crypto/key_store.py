"""Block RAMs with the expanded keys: round keys by stage, powers of H."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.types import MAX_AAD, STAGES
from tailrace_hw.lib.delay import delayed

__all__ = ["AAD_BLOCKS", "PowerStore", "RoundKeyStore"]

#: Blocks of additional data at most, one power of H for each.
AAD_BLOCKS = MAX_AAD // 16


def _two_ports(m: Module, name: str, rows: int, read_row, row, write, data):
    """A RAM of 128 bits with a port that reads and one that reads or writes; both read values."""
    m.submodules[name] = storage = memory.Memory(shape=128, depth=rows, init=[])
    first, second = storage.read_port(), storage.read_port()
    writer = storage.write_port()
    m.d.comb += [
        first.addr.eq(read_row),
        second.addr.eq(row),
        second.en.eq(~write),
        writer.addr.eq(row),
        writer.en.eq(write),
        writer.data.eq(data),
    ]
    return first.data, second.data


class RoundKeyStore(wiring.Component):
    """Round keys of all rows, read by two pipelines of lanes as their stages need them.

    One RAM a stage. A row that is named in cycle t is looked up for stage s in cycle t + s and is
    there in t + s + ``latency``, so the pipeline's block is to enter it in t + ``latency``. Each
    cycle can name another row.

    The side port writes as well. A write takes the place of a block of the side pipeline: named
    with ``side_write`` in cycle t, stage s takes ``write_key`` in cycle t + s. So a row changes in
    a wave that no block of the side pipeline can meet: one before it sees the old row whole, one
    behind it the new one. The other port must not name the row from ``STAGES`` cycles before the
    write until ``STAGES`` cycles after it.

    Parameters
    ----------
    rows : :class:`int`

    Members
    -------
    row : In(range(rows))
    keys : Out(128), array by stage
    side_row : In(range(rows))
    side_write : In(1)
    write_key : In(128)
    side_keys : Out(128), array by stage
    """

    latency = 1

    def __init__(self, rows: int):
        self._rows = rows
        super().__init__(
            {
                "row": In(range(rows)),
                "keys": Out(128).array(STAGES),
                "side_row": In(range(rows)),
                "side_write": In(1),
                "write_key": In(128),
                "side_keys": Out(128).array(STAGES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, side_row, write = self.row, self.side_row, self.side_write
        for stage in range(STAGES):
            key, side_key = _two_ports(
                m, f"stage{stage}", self._rows, row, side_row, write, self.write_key
            )
            m.d.comb += [self.keys[stage].eq(key), self.side_keys[stage].eq(side_key)]
            row = delayed(m, row, 1, f"row{stage}")
            side_row = delayed(m, side_row, 1, f"side_row{stage}")
            write = delayed(m, write, 1, f"write{stage}", reset=True)
        return m


class PowerStore(wiring.Component):
    """Powers of the hash key H of all rows, read for the payload and for the additional data.

    A row named in cycle t: all its powers are in ``powers`` in t + ``latency``. The side port
    works as a wave, as its users do: a row named there in cycle t gives H^``AAD_BLOCKS`` in
    t + ``side_latency``, the power below a cycle later, and so on to H. A write takes the place of
    a reader and must hold ``write_data`` for ``AAD_BLOCKS`` cycles.

    Parameters
    ----------
    rows : :class:`int`
    count : :class:`int`
        Powers a row, at least :data:`AAD_BLOCKS`.

    Members
    -------
    row : In(range(rows))
    powers : Out(128), array
        Element k is H^(k + 1).
    side_row : In(range(rows))
    side_write : In(count)
        Powers to write.
    write_data : In(128)
    side_powers : Out(128), array
        Element k is H^(k + 1), each in its own cycle.
    """

    latency = 2
    side_latency = 1

    def __init__(self, rows: int, count: int):
        if count < AAD_BLOCKS:
            raise ValueError(f"count must be at least {AAD_BLOCKS}, not {count}")
        self._rows = rows
        self._count = count
        super().__init__(
            {
                "row": In(range(rows)),
                "powers": Out(128).array(count),
                "side_row": In(range(rows)),
                "side_write": In(count),
                "write_data": In(128),
                "side_powers": Out(128).array(AAD_BLOCKS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for index in range(self._count):
            # The highest that a reader needs, and all above, in the first cycle of the wave.
            wait = max(0, AAD_BLOCKS - 1 - index)
            chosen = delayed(m, self.side_write[index], wait, f"write{index}", reset=True)
            side_row = delayed(m, self.side_row, wait, f"side_row{index}")
            power, side_power = _two_ports(
                m, f"power{index + 1}", self._rows, self.row, side_row, chosen, self.write_data
            )
            m.d.comb += self.powers[index].eq(delayed(m, power, 1, f"read{index}"))
            if index < AAD_BLOCKS:
                m.d.comb += self.side_powers[index].eq(side_power)
        return m
