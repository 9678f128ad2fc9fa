"""GHASH of packets against a bit-serial reference."""

import pytest

import tailrace_hw.crypto.ghash as gateware
from tailrace_hw.crypto.ghash import Ghash
from tailrace_sim.models import ghash
from tailrace_sim.rigid import as_block, run_rigid
from tailrace_sim.unit import check_refused, seeded

LANES = [1, 2, 4, 8]


class Packet:
    """A packet with its own H: random but for its lengths.

    ``gap`` is the probability of one in a cycle before a beat of it.
    """

    def __init__(self, rng, lanes, aad_length, length, gap=0.0):
        self.h = rng.randbytes(16)
        self.aad, self.payload = rng.randbytes(aad_length), rng.randbytes(length)
        self.lanes, self.gap = lanes, gap
        self.lengths = aad_length, length

    @property
    def expected(self):
        blocks = ghash.padded(self.aad) + ghash.padded(self.payload)
        return ghash.ghash(self.h, blocks + ghash.lengths_block(*self.lengths))

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
                    "aad_length": self.lengths[0],
                    "length": self.lengths[1],
                }
            )
        return [(beat, [as_block(power) for power in powers]) for beat in beats]


def check(dut, packets, rng):
    cycles, due = [], []
    for packet in packets:
        for beat in packet.beats():
            # In a beat that is neither first nor last the other fields are noise.
            payload, powers = beat
            if not payload["first"]:
                payload["start"] = rng.getrandbits(128)
            if not payload["last"]:
                payload |= {"aad_length": rng.getrandbits(7), "length": rng.getrandbits(15)}
            while rng.random() < packet.gap:
                cycles.append(None)
            cycles.append((payload, powers))
        due.append((len(cycles) - 1 + dut.latency, packet.expected))
    assert due
    assert run_rigid(dut, cycles, rng, 8) == due


def lengths(rng, lanes):
    """All numbers of blocks up to two beats, at random whole or in part, ends of beats, more."""
    beat = 16 * lanes
    few = [max(0, 16 * blocks - rng.choice((0, rng.randint(1, 15))))
           for blocks in range(2 * lanes + 1)]  # fmt: skip
    return few + [0, 0, 1, beat - 1, beat, beat + 1] + [rng.randint(0, 6 * beat) for _ in range(5)]


def packets_of(rng, lanes):
    packets = [
        Packet(rng, lanes, rng.choice((0, 1, 16, 96, rng.randint(0, 96))), length, gap)
        for length in lengths(rng, lanes)
        for gap in [rng.choice((0, 0.5))]
    ]
    rng.shuffle(packets)
    return packets


@pytest.mark.parametrize("lanes", LANES)
def test_packets(lanes):
    """Each result is due in its cycle; at last a packet a cycle, each with an H of its own."""
    rng = seeded()
    beats = [Packet(rng, lanes, rng.randint(0, 96), rng.randint(0, 16 * lanes)) for _ in range(12)]
    assert all(len(packet.beats()) == 1 for packet in beats)
    check(Ghash(lanes), [*packets_of(rng, lanes), *beats], rng)


def test_every_bit_of_the_lengths():
    """What the fields say is hashed, as long as the packet may be: 16 KiB, 96 bytes."""
    rng = seeded()
    packets = [Packet(rng, 2, 0, rng.randint(0, 32)) for _ in range(24)]
    bits = [(1 << k, 0) for k in range(7)] + [(0, 1 << k) for k in range(15)]
    for packet, claimed in zip(packets, [*bits, (96, 16384), (127, 32767)], strict=True):
        packet.lengths = claimed
    check(Ghash(2), packets, rng)


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


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_specification_s_examples(lanes):
    rng = seeded()
    packets = []
    for h, aad, payload, s in EXAMPLES:
        packet = Packet(rng, lanes, 0, 0)
        packet.h, packet.aad, packet.payload = map(bytes.fromhex, (h, aad, payload))
        packet.lengths = len(packet.aad), len(packet.payload)
        assert packet.expected.hex() == s
        packets.append(packet)
    check(Ghash(lanes), packets, rng)


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
        check(Ghash(1), packets_of(rng, 1), rng)


def test_a_wrong_power_is_seen(monkeypatch):
    choose = gateware._choose
    monkeypatch.setattr(gateware, "_choose", lambda choices, select: choose(choices, select ^ 1))
    rng = seeded()
    with pytest.raises(AssertionError):
        check(Ghash(1), packets_of(rng, 1), rng)


def test_a_gap_taken_for_a_beat_is_seen(monkeypatch):
    """Without gaps this fault does nothing; between the beats of a packet it must show."""
    monkeypatch.setattr(gateware, "GAP_FACTOR", 0)
    rng = seeded()
    check(Ghash(1), [Packet(rng, 1, 20, 40) for _ in range(6)], rng)
    with pytest.raises(AssertionError):
        check(Ghash(1), [Packet(rng, 1, 20, 40, gap=0.5) for _ in range(6)], rng)


def test_lanes_out_of_range():
    check_refused(lambda: Ghash(0), "must be 1 to 16, not 0")
