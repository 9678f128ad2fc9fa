"""GHASH of packets against a bit-serial reference."""

import pytest

import tailrace_hw.crypto.ghash as gateware
from tailrace_hw.crypto.ghash import Ghash
from tailrace_sim.models import ghash
from tailrace_sim.rigid import as_block, run_rigid
from tailrace_sim.unit import check_refused, seeded

LANES = [1, 2, 4, 8]


class Packet:
    """A packet with its own H: random but for its lengths."""

    def __init__(self, rng, lanes, aad_length, length, h=None):
        self.h = h or rng.randbytes(16)
        self.aad, self.payload = rng.randbytes(aad_length), rng.randbytes(length)
        self.lanes = lanes

    @property
    def expected(self):
        return ghash.packet_ghash(self.h, self.aad, self.payload)

    def beats(self):
        """What is on the inputs. What the contract leaves open is not looked at."""
        data = ghash.padded(self.payload)
        blocks = [as_block(data[at : at + 16]) for at in range(0, len(data), 16)]
        powers = [self.h]
        while len(powers) <= self.lanes:
            powers.append(ghash.multiply(powers[-1], self.h))
        starts = range(0, max(1, len(blocks)), self.lanes)
        beats = []
        for at in starts:
            part = blocks[at : at + self.lanes]
            beats.append(
                {
                    "blocks": part + [0] * (self.lanes - len(part)),
                    "count": len(part),
                    "first": at == 0,
                    "last": at == starts[-1],
                    "start": as_block(ghash.ghash(self.h, ghash.padded(self.aad))),
                    "aad_length": len(self.aad),
                    "length": len(self.payload),
                }
            )
        return [(beat, [as_block(power) for power in powers]) for beat in beats]


def check(dut, packets, gaps, rng):
    cycles, due = [], []
    for packet in packets:
        for beat in packet.beats():
            # In a beat that is neither first nor last the other fields are noise.
            payload, powers = beat
            if not payload["first"]:
                payload["start"] = rng.getrandbits(128)
            if not payload["last"]:
                payload |= {"aad_length": rng.getrandbits(7), "length": rng.getrandbits(15)}
            while rng.random() < gaps:
                cycles.append(None)
            cycles.append((payload, powers))
        due.append((len(cycles) - 1 + dut.latency, packet.expected))
    assert due
    assert run_rigid(dut, cycles, rng, 8) == due


def lengths(rng, lanes):
    """All numbers of blocks up to three beats, each whole and in part, and 16 KiB."""
    beat = 16 * lanes
    few = [length for blocks in range(3 * lanes + 1)
           for length in {16 * blocks, max(0, 16 * blocks - rng.randint(0, 15))}]  # fmt: skip
    return few + [0, 1, beat, beat - 1, beat + 1] + [rng.randint(0, 8 * beat) for _ in range(10)]


def packets_of(rng, lanes):
    packets = [
        Packet(rng, lanes, rng.choice((0, 1, 16, 64, rng.randint(0, 64))), length)
        for length in lengths(rng, lanes)
    ]
    rng.shuffle(packets)
    return packets


@pytest.mark.parametrize("gaps", [0, 0.4])
@pytest.mark.parametrize("lanes", LANES)
def test_packets(lanes, gaps):
    """Without gaps the results are due in the cycles of full rate: see ``check``."""
    rng = seeded()
    check(Ghash(lanes), packets_of(rng, lanes), gaps, rng)


def test_a_packet_a_cycle():
    rng = seeded()
    packets = [Packet(rng, 4, rng.randint(0, 64), rng.randint(0, 64)) for _ in range(100)]
    assert all(len(packet.beats()) == 1 for packet in packets)
    check(Ghash(4), packets, 0, rng)


def test_the_longest():
    rng = seeded()
    check(Ghash(8), [Packet(rng, 8, 64, 16383), Packet(rng, 8, 64, 16384)], 0, rng)


#: H, additional data, ciphertext and S of test cases 1, 2, 3 and 4 of the GCM specification.
EXAMPLES = [
    ("66e94bd4ef8a2c3b884cfa59ca342b2e", "", "", "0" * 32),
    ("66e94bd4ef8a2c3b884cfa59ca342b2e", "", "0388dace60b6a392f328c2b971b2fe78",
     "f38cbb1ad69223dcc3457ae5b6b0f885"),
    ("b83b533708bf535d0aa6e52980d53b78", "",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
     "7f1b32b81b820d02614f8895ac1d4eac"),
    ("b83b533708bf535d0aa6e52980d53b78", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
     "698e57f70e6ecc7fd9463b7260a9ae5f"),
]  # fmt: skip


@pytest.mark.parametrize("lanes", LANES)
def test_the_specification_s_examples(lanes):
    rng = seeded()
    packets = []
    for h, aad, payload, s in EXAMPLES:
        packet = Packet(rng, lanes, 0, 0, bytes.fromhex(h))
        packet.aad, packet.payload = bytes.fromhex(aad), bytes.fromhex(payload)
        assert packet.expected.hex() == s
        packets.append(packet)
    check(Ghash(lanes), packets, 0, rng)


def test_a_packet_without_its_end_is_forgotten():
    rng = seeded()
    cycles, due = [], []
    for packet in packets_of(rng, 2)[:12]:
        cycles += [*Packet(rng, 2, 16, 100).beats()[:2], *packet.beats()]
        due.append((len(cycles) - 1 + Ghash.latency, packet.expected))
    assert run_rigid(Ghash(2), cycles, rng, 8) == due


def test_lengths_in_the_wrong_place_are_seen(monkeypatch):
    monkeypatch.setattr(gateware, "BYTE", 2)
    rng = seeded()
    with pytest.raises(AssertionError):
        check(Ghash(2), packets_of(rng, 2), 0, rng)


def test_a_wrong_power_is_seen(monkeypatch):
    choose = gateware._choose
    monkeypatch.setattr(gateware, "_choose", lambda choices, select: choose(choices, select ^ 1))
    rng = seeded()
    with pytest.raises(AssertionError):
        check(Ghash(2), packets_of(rng, 2), 0, rng)


def test_a_gap_taken_for_a_beat_is_seen(monkeypatch):
    """Without gaps this fault does nothing; between the beats of a packet it must show."""
    monkeypatch.setattr(gateware, "GAP_FACTOR", 0)
    rng = seeded()
    packets = [Packet(rng, 1, 20, 40) for _ in range(6)]
    check(Ghash(1), packets, 0, rng)
    with pytest.raises(AssertionError):
        check(Ghash(1), packets, 0.5, rng)


def test_lanes_out_of_range():
    check_refused(lambda: Ghash(0), "must be 1 to 16, not 0")
