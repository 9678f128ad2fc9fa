"""The rigid part of the cipher engine: lanes, hash, second pass, verdict."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.crypto.aad_unit import AadUnit
from tailrace_hw.crypto.aes_lane import AesLane
from tailrace_hw.crypto.ghash import Ghash
from tailrace_hw.crypto.key_check import is_xts
from tailrace_hw.crypto.key_expander import SideUse
from tailrace_hw.crypto.key_store import AAD_BLOCKS, PowerStore, RoundKeyStore
from tailrace_hw.crypto.lane_feed import LaneFeed
from tailrace_hw.crypto.side_lane import SideLane
from tailrace_hw.crypto.stealing import Stealing
from tailrace_hw.crypto.types import STAGES, JobParameters, Operation, Status
from tailrace_hw.crypto.verdict import Tag, Verdict
from tailrace_hw.crypto.work import work_layout
from tailrace_hw.lib.delay import delayed

__all__ = ["Datapath", "Timing", "done_layout"]


class Timing:
    """Cycles from a beat's entry to the points of the pipeline.

    Attributes
    ----------
    feed : the beat is at the lanes' feed; with XTS the tweak must be known by then
    added : the lanes' results have met the data
    masked : bytes behind the packet's end are gone; the beat enters the hash
    hashed : the hash is there, for a last beat
    steal : the side lane's cycle for a second pass
    done : the beat and the verdict leave
    drain : nothing of the beat looks at the key's RAMs any more
    """

    def __init__(self, lanes: int, *, xts: bool):
        self.feed = SideLane.latency if xts else 0
        self.added = self.feed + LaneFeed.latency + AesLane.latency + 1
        self.masked = self.added + 1
        self.hashed = self.masked + Ghash.latency
        self.steal = self.masked + Stealing.ask - 1
        self.done = self.hashed + Verdict.latency
        self.drain = self.masked
        if xts:
            self.done = max(self.done, self.masked + Stealing.latency)
            self.drain = self.steal + STAGES


def done_layout(lanes: int, rows: int) -> data.StructLayout:
    """A beat that is done.

    Members
    -------
    work : as it came in, its data replaced
    tag : of the packet, on its last beat
    """
    return data.StructLayout({"work": work_layout(lanes, rows), "tag": Tag})


class Datapath(wiring.Component):
    """Enciphers, deciphers and hashes beats. One a cycle, ``Timing.done`` cycles, never waits.

    Keys, operations and packets may change with every beat. Beats of a packet need not be in
    consecutive cycles, but for what ``Admission`` says of ciphertext stealing.

    Parameters
    ----------
    lanes : :class:`int`
        Blocks of 128 bits a beat: 1, 2, 4 or 8.
    rows : :class:`int`
        Of the key table.
    xts : :class:`bool`
        With XTS: the lanes can decipher, and every packet waits for the time that a tweak takes.

    Members
    -------
    i : In(stream of ``work_layout``), always ready
    job : In(JobParameters)
        With a packet's first beat.
    o : Out(stream of :func:`done_layout`), always ready
    use, write_key, hash_key, power_write, power_data, factors, product
        The other ends of ``KeyExpander``'s.
    """

    def __init__(self, lanes: int, rows: int, *, xts: bool):
        self._lanes = lanes
        self._rows = rows
        self._xts = xts
        self._powers = max(lanes + 1, AAD_BLOCKS)
        self._timing = Timing(lanes, xts=xts)
        pair = data.ArrayLayout(128, 2)
        super().__init__(
            {
                "i": In(stream.Signature(work_layout(lanes, rows), always_ready=True)),
                "job": In(JobParameters),
                "o": Out(stream.Signature(done_layout(lanes, rows), always_ready=True)),
                "use": In(SideUse),
                "write_key": In(128),
                "hash_key": Out(stream.Signature(128, always_ready=True)),
                "power_write": In(self._powers),
                "power_data": In(128),
                "factors": In(stream.Signature(pair, always_ready=True)),
                "product": Out(stream.Signature(128, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        time = self._timing
        m.submodules.round_keys = round_keys = RoundKeyStore(self._rows)
        m.submodules.side = side = SideLane(self._rows, xts=self._xts)
        # The same beat at the points of its way, without its data.
        keys = [name for name in self.i.payload.shape().members if name != "data"]
        plain = data.StructLayout({name: self.i.payload.shape().members[name] for name in keys})
        entered = Signal(plain)
        m.d.comb += [entered[name].eq(self.i.payload[name]) for name in keys]
        points, valid, since = {0: entered}, {0: self.i.valid}, 0
        for point in sorted({time.feed, time.masked - 2, time.masked, time.hashed, time.done}):
            if point not in points:
                name = f"beat_at_{point}_from_{since}"
                points[point] = delayed(m, points[since], point - since, name)
                valid[point] = delayed(m, valid[since], point - since, f"{name}_valid", reset=True)
            since = point

        j0 = self._side(m, side, round_keys)
        feed, added = self._lanes_part(m, points, valid, side, round_keys, j0)
        masked, cipher = self._mask(m, points, feed, added)
        hashed = self._hash(m, points, valid, cipher)
        tag = self._verdict(m, points, valid, side, hashed)
        body = self._second_pass(m, points, valid, side, feed, masked)

        m.d.comb += [
            self.o.valid.eq(valid[time.done]),
            self.o.payload.work.data.eq(body),
            self.o.payload.tag.eq(tag),
        ]
        m.d.comb += [self.o.payload.work[name].eq(points[time.done][name]) for name in keys]
        return m

    def _side(self, m, side, round_keys):
        """The side lane and its RAM ports; returns J0 of the packet that enters."""
        work, job = self.i.payload, self.job
        j0, xts = Signal(128), is_xts(work.operation)
        m.d.comb += [
            # J0 = IV || 0^31 || 1 (SP 800-38D, 7.1, step 2).
            j0.eq(Mux(job.j0, job.iv, Cat(job.iv[:96], Const(1 << 24, 32)))),
            side.start.eq(self.i.valid & work.first),
            side.start_row.eq(work.row | xts),
            side.start_size.eq(work.size),
            side.start_block.eq(Mux(xts, job.iv, j0)),
            side.use.eq(self.use),
            round_keys.side_row.eq(side.row),
            round_keys.side_write.eq(side.write),
            round_keys.write_key.eq(self.write_key),
        ]
        for stage in range(STAGES):
            m.d.comb += side.keys[stage].eq(round_keys.side_keys[stage])
        connect(m, side.hash_key, flipped(self.hash_key))
        return j0

    def _lanes_part(self, m, points, valid, side, round_keys, j0):
        """Counter blocks or tweaked data through the lanes; the feed's beat and their sums."""
        time = self._timing
        work = points[time.feed]
        m.submodules.feed = feed = LaneFeed(self._lanes, self._rows, xts=self._xts)
        into = feed.i.payload
        m.d.comb += [into[name].eq(work[name]) for name in work.shape().members]
        m.d.comb += [
            feed.i.valid.eq(valid[time.feed]),
            into.data.eq(delayed(m, self.i.payload.data, time.feed, "data")),
            feed.j0.eq(delayed(m, j0, time.feed, "j0")),
            feed.tweak.eq(side.o),
            round_keys.row.eq(work.row | ((work.operation == Operation.XTS_DECRYPT) << 1)),
        ]
        fed = feed.o.payload
        added = Signal(data.ArrayLayout(128, self._lanes))
        for lane in range(self._lanes):
            m.submodules[f"lane{lane}"] = aes = AesLane(inverse=self._xts)
            block = aes.i.payload
            m.d.comb += [
                aes.i.valid.eq(feed.o.valid),
                block.block.eq(fed.blocks[lane]),
                block.size.eq(fed.size),
                block.decrypt.eq(fed.decrypt),
            ]
            for stage in range(STAGES):
                m.d.comb += aes.round_keys[stage].eq(round_keys.keys[stage])
            operand = delayed(m, fed.operands[lane], AesLane.latency, f"operand{lane}")
            m.d.sync += added[lane].eq(aes.o.payload ^ operand)
        return fed, added

    def _mask(self, m, points, fed, added):
        """Nothing behind the packet's end; what goes out, and what is hashed."""
        work = points[self._timing.masked - 2]
        there = Signal(16 * self._lanes, reset_less=True)
        encrypts = Signal(reset_less=True)
        m.d.sync += [
            there.eq(Cat(index < work.bytes for index in range(16 * self._lanes))),
            encrypts.eq(work.operation == Operation.GCM_ENCRYPT),
        ]
        masked = Signal(data.ArrayLayout(128, self._lanes), reset_less=True)
        cipher = Signal(data.ArrayLayout(128, self._lanes), reset_less=True)
        for lane in range(self._lanes):
            # The operand once more: deciphering, it is what the hash is over.
            name = f"arrived{lane}"
            arrived = delayed(m, fed.operands[lane], AesLane.latency + 1, name)
            for index in range(16):
                here = there[16 * lane + index]
                out, came = (word.word_select(index, 8) for word in (added[lane], arrived))
                m.d.sync += [
                    masked[lane].word_select(index, 8).eq(Mux(here, out, 0)),
                    cipher[lane].word_select(index, 8).eq(Mux(here, Mux(encrypts, out, came), 0)),
                ]
        return masked, cipher

    def _hash(self, m, points, valid, cipher):
        """GHASH over additional data and ciphertext; returns S, with last beats."""
        time = self._timing
        m.submodules.powers = powers = PowerStore(self._rows, self._powers)
        m.submodules.aad = aad = AadUnit()
        m.submodules.hash = hash_ = Ghash(self._lanes)
        work, job = self.i.payload, self.job
        # Two cycles before the beat is at the hash: its powers' row.
        early = points[time.masked - 2]
        assert PowerStore.latency == 2
        m.d.comb += [
            aad.start.eq(
                self.i.valid
                & work.first
                & ~is_xts(work.operation)
                & (job.aad_length != 0)
                & (work.status == Status.OK)
            ),
            aad.aad.eq(job.aad),
            aad.aad_length.eq(job.aad_length),
            powers.row.eq(early.row),
            powers.side_row.eq(Mux(self.use.valid, self.use.row, work.row)),
            powers.side_write.eq(self.power_write),
            powers.write_data.eq(self.power_data),
        ]
        for index in range(AAD_BLOCKS):
            m.d.comb += aad.side_powers[index].eq(powers.side_powers[index])
        connect(m, flipped(self.factors), aad.factors)
        connect(m, aad.product, flipped(self.product))

        state = Signal(128)
        m.d.comb += state.eq(Mux(aad.state.valid, aad.state.payload, 0))
        beat, into = points[time.masked], hash_.i.payload
        m.d.comb += [
            hash_.i.valid.eq(valid[time.masked] & ~is_xts(beat.operation)),
            into.start.eq(delayed(m, state, time.masked - AadUnit.latency, "state")),
            into.count.eq(beat.count),
            into.first.eq(beat.first),
            into.last.eq(beat.last),
            into.aad_length.eq(beat.aad_length),
            into.length.eq(beat.length),
        ]
        for lane in range(self._lanes):
            m.d.comb += into.blocks[lane].eq(cipher[lane])
        for index in range(self._lanes + 1):
            m.d.comb += hash_.powers[index].eq(powers.powers[index])
        return hash_.o

    def _verdict(self, m, points, valid, side, hashed):
        """The tag of the packet whose last beat leaves."""
        time = self._timing
        m.submodules.verdict = verdict = Verdict()
        work = points[time.hashed]
        starts = valid[time.hashed] & work.first
        # E(K, J0) and the expected tag are there with the first beat, and are kept to the last.
        mask = delayed(m, side.o, time.hashed - SideLane.latency, "mask")
        expected = delayed(m, self.job.tag, time.hashed, "expected")
        mask_kept, expected_kept = Signal(128), Signal(128)
        m.d.comb += [
            verdict.i.valid.eq(hashed.valid),
            verdict.i.payload.eq(hashed.payload),
            verdict.mask.eq(Mux(starts, mask, mask_kept)),
            verdict.expected.eq(Mux(starts, expected, expected_kept)),
            verdict.tag_length.eq(work.tag_length),
        ]
        m.d.sync += [mask_kept.eq(verdict.mask), expected_kept.eq(verdict.expected)]
        wait = time.done - time.hashed - Verdict.latency
        return delayed(m, verdict.o.payload, wait, "tag")

    def _second_pass(self, m, points, valid, side, fed, masked):
        """Ciphertext stealing; returns the data of the beat that leaves."""
        time = self._timing
        words = Cat(masked[lane] for lane in range(self._lanes))
        if not self._xts:
            return delayed(m, words, time.done - time.masked, "words")
        m.submodules.stealing = stealing = Stealing(self._lanes)
        work, into = points[time.masked], stealing.i.payload
        wait = time.masked - time.feed - LaneFeed.latency
        m.d.comb += [
            stealing.i.valid.eq(valid[time.masked]),
            into.data.eq(words),
            into.steal.eq(work.steal),
            into.end.eq(work.end),
            into.rest.eq(work.bytes[:4]),
            stealing.result.eq(side.o),
        ]
        for name in ("steal_lane", "tail", "steal_tweak"):
            m.d.comb += into[name].eq(delayed(m, fed[name], wait, name))

        asks = delayed(m, work, time.steal - time.masked, "asks")
        asks_valid = delayed(m, valid[time.masked], time.steal - time.masked, "asked", reset=True)
        decrypts = asks.operation == Operation.XTS_DECRYPT
        m.d.comb += [
            side.second.eq(asks_valid & asks.steal),
            side.second_row.eq(asks.row | (decrypts << 1)),
            side.second_size.eq(asks.size),
            side.second_decrypt.eq(decrypts),
            side.second_block.eq(stealing.second),
        ]
        wait = time.done - time.masked - Stealing.latency
        return delayed(m, stealing.o.payload, wait, "words")
