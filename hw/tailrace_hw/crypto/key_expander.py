"""Writes a key's round keys and powers of H into their RAMs, in cycles between packets."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.crypto.aad_unit import AadUnit
from tailrace_hw.crypto.key_schedule import AesKeySchedule
from tailrace_hw.crypto.key_store import AAD_BLOCKS
from tailrace_hw.crypto.types import STAGES, KeyKind, KeySize
from tailrace_hw.lib.delay import delayed

__all__ = ["ExpandRequest", "KeyExpander", "SideUse"]


class ExpandRequest(data.Struct):
    """One row to erase, or one key to write."""

    erase: 1
    #: First row of the key.
    row: 16
    kind: KeyKind
    size: KeySize
    material: 256
    tweak_material: 256


class Step(enum.Enum, shape=3):
    """What a claimed cycle is used for."""

    NONE = 0
    #: Round keys of the row, in a wave.
    KEYS = 1
    #: The zero block enters the side lane: H (SP 800-38D, 7.1, step 1).
    HASH = 2
    #: A power of H is written, and multiplied by H for the next one.
    POWER = 3
    ERASE = 4


class SideUse(data.Struct):
    """What goes into the side lane and its RAMs in a claimed cycle."""

    #: The cycle is the key expander's.
    valid: 1
    row: 16
    write: 1
    #: The zero block is to follow.
    hash: 1
    size: KeySize


class KeyExpander(wiring.Component):
    """Expands one key at a time (FIPS 197, 5.2; powers of H = CIPH_K(0^128), SP 800-38D, 7.1).

    Each step takes one ``claim``: a cycle in which no packet starts, so that the side lane, the
    unit for additional data and the write side of the RAMs are free. Nothing else waits. A GCM key
    takes ``count`` + 2 of them, an XTS key 3, erasing a row 1.

    ``done`` says that the RAMs have it all. Whoever asks sees to it that nobody uses the row.
    Behind ``done`` of a key its last traces here are overwritten; the next request waits for that.

    Parameters
    ----------
    count : :class:`int`
        Powers of H a row.

    Members
    -------
    i : In(stream of ExpandRequest)
        Taken when nothing else is under way. A key waits for the wave of an erasure before it,
        which would take the key's rows for its own from where it is.
    done : Out(1)
        One cycle for each request.
    claim : Out(1)
    far : Out(1)
        The claim is for ``STAGES`` cycles later than usual.
    granted : In(1)
        The claim's cycle is ``claim_ahead`` cycles from now, or with ``far`` so much later.
    side : Out(SideUse)
    write_key : Out(128)
        Round keys of a wave, a stage a cycle, from the cycle of ``side`` on.
    hash_key : In(stream of 128 bits), always ready
        What became of the zero block.
    power_write : Out(count)
        Powers to write to the row of ``side``; the data is there for ``AAD_BLOCKS`` cycles.
    power_data : Out(128)
    factors : Out(stream of two times 128 bits), always ready
        Multiplied in the claimed cycle.
    product : In(stream of 128 bits), always ready
    """

    #: As long as the schedule takes to its first key, so that wave and keys meet.
    claim_ahead = AesKeySchedule.latency

    def __init__(self, count: int):
        self._count = count
        super().__init__(
            {
                "i": In(stream.Signature(ExpandRequest)),
                "done": Out(1),
                "claim": Out(1),
                "far": Out(1),
                "granted": In(1),
                "side": Out(SideUse),
                "write_key": Out(128),
                "hash_key": In(stream.Signature(128, always_ready=True)),
                "power_write": Out(count),
                "power_data": Out(128),
                "factors": Out(stream.Signature(data.ArrayLayout(128, 2), always_ready=True)),
                "product": In(stream.Signature(128, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.schedule = schedule = AesKeySchedule()
        request = Signal(ExpandRequest)
        step, row = Signal(Step), Signal(16)
        reverse, tweak = Signal(), Signal()
        index = Signal(range(self._count))
        hash_key, power = Signal(128), Signal(128)

        # The steps on their way from the grant to their cycle.
        granted_step = Signal(Step)
        now = Signal(Step)
        m.d.comb += [
            granted_step.eq(Mux(self.granted & ~reverse, step, Step.NONE)),
            now.eq(delayed(m, granted_step, self.claim_ahead, "step", reset=True)),
        ]
        # The schedule makes the rows to decipher with behind the others.
        far_granted = self.granted & reverse
        with m.If(delayed(m, far_granted, self.claim_ahead + STAGES, "far_step", reset=True)):
            m.d.comb += now.eq(Step.KEYS)
        m.d.comb += [
            self.claim.eq(step != Step.NONE),
            self.far.eq(reverse),
            schedule.i.payload.key.eq(Mux(tweak, request.tweak_material, request.material)),
            schedule.i.payload.size.eq(request.size),
            schedule.i.payload.reverse.eq(reverse),
            self.side.valid.eq(now != Step.NONE),
            self.side.row.eq(row),
            self.side.write.eq((now == Step.KEYS) | (now == Step.ERASE)),
            self.side.hash.eq(now == Step.HASH),
            self.side.size.eq(request.size),
            self.write_key.eq(Mux(schedule.o.valid, schedule.o.payload.round_key, 0)),
            self.power_data.eq(power),
            self.power_write.eq(Mux(now == Step.ERASE, ~0, Mux(now == Step.POWER, 1 << index, 0))),
            self.factors.valid.eq(now == Step.POWER),
            self.factors.payload[0].eq(power),
            self.factors.payload[1].eq(hash_key),
        ]
        with m.If(self.granted):
            m.d.sync += step.eq(Step.NONE)
        with m.If(self.granted & (step == Step.KEYS)):
            m.d.comb += schedule.i.valid.eq(1)
        self._sequence(m, request, step, row, reverse, tweak, index, hash_key, power, now, schedule)
        return m

    def _sequence(
        self, m, request, step, row, reverse, tweak, index, hash_key, power, now, schedule
    ):
        wave_ends = schedule.o.valid & schedule.o.payload.last
        settle = Signal(range(AAD_BLOCKS))
        ask_again = AadUnit.product_latency - self.claim_ahead - 1
        wait = Signal(range(AadUnit.product_latency))
        # Cycles in which a key's first row would meet the wave of an erasure.
        erasing = Signal(range(STAGES))
        with m.If(now == Step.ERASE):
            m.d.sync += erasing.eq(STAGES - self.claim_ahead - 2)
        with m.Elif(erasing != 0):
            m.d.sync += erasing.eq(erasing - 1)
        with m.FSM(name="expander"):
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(self.i.payload.erase | (erasing == 0))
                m.d.sync += [
                    request.eq(self.i.payload),
                    row.eq(self.i.payload.row),
                    reverse.eq(0),
                    tweak.eq(0),
                    index.eq(0),
                    power.eq(0),
                ]
                with m.If(self.i.valid & self.i.payload.erase):
                    m.d.sync += step.eq(Step.ERASE)
                    m.next = "ERASE"
                with m.Elif(self.i.valid & self.i.ready):
                    m.d.sync += step.eq(Step.KEYS)
                    m.next = "KEYS"
            with m.State("ERASE"):
                # Another erasure meets this wave from behind.
                m.d.comb += self.done.eq(now == Step.ERASE)
                with m.If(self.done):
                    m.next = "IDLE"
            with m.State("KEYS"):
                with m.If((now == Step.KEYS) & (request.kind == KeyKind.XTS)):
                    m.next = "WAVE"
                with m.Elif(now == Step.KEYS):
                    m.d.sync += step.eq(Step.HASH)
                    m.next = "HASH"
            with m.State("WAVE"):
                # XTS: Key1, Key1 for decryption, Key2.
                with m.If(wave_ends):
                    m.d.sync += [
                        row.eq(request.row + Mux(reverse, 1, 2)),
                        reverse.eq(~reverse & ~tweak),
                        tweak.eq(reverse),
                    ]
                    m.d.comb += self.done.eq(tweak)
                    with m.If(tweak):
                        m.next = "WIPE"
                    with m.Else():
                        m.d.sync += step.eq(Step.KEYS)
                        m.next = "KEYS"
            with m.State("HASH"):
                with m.If(self.hash_key.valid):
                    m.d.sync += [
                        hash_key.eq(self.hash_key.payload),
                        power.eq(self.hash_key.payload),
                        step.eq(Step.POWER),
                    ]
                    m.next = "POWER"
            with m.State("POWER"):
                m.d.sync += [settle.eq(AAD_BLOCKS - 1), wait.eq(ask_again)]
                with m.If((now == Step.POWER) & (index == self._count - 1)):
                    m.next = "SETTLE"
                with m.Elif(now == Step.POWER):
                    m.next = "PRODUCT"
            with m.State("PRODUCT"):
                # The next cycle is claimed early: it comes right behind the product.
                with m.If(wait == 0):
                    m.d.sync += step.eq(Step.POWER)
                m.d.sync += wait.eq(wait - 1)
                with m.If(self.product.valid):
                    m.d.sync += [power.eq(self.product.payload), index.eq(index + 1)]
                    m.next = "POWER"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(settle == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "WIPE"
            with m.State("WIPE"):
                # Nothing of the key stays behind: the schedule expands a key of zeros over it.
                m.d.sync += [hash_key.eq(0), power.eq(0), request.eq(0), row.eq(0)]
                m.next = "WIPE_SCHEDULE"
            with m.State("WIPE_SCHEDULE"):
                m.d.comb += schedule.i.valid.eq(1)
                m.next = "WIPING"
            with m.State("WIPING"):
                with m.If(wave_ends):
                    m.next = "IDLE"
