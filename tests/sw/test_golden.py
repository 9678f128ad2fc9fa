"""The golden models against scapy's packets, and the drops of the soft device."""

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tailrace.virtio.queue import Piece
from tailrace_sim.models import checksum
from tailrace_sim.models.virtio_net import receive_header, transmit
from tailrace_sim.soft_bench import SoftBench

HEADER = struct.Struct("<BBHHHHH")
ETHERNET = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
PACKETS = {
    "tcp4": ETHERNET / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80) / b"hello",
    "udp4": ETHERNET / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(dport=53) / b"x",
    "tagged": ETHERNET / Dot1Q(vlan=5) / IP(src="1.2.3.4", dst="5.6.7.8") / UDP() / bytes(99),
    "tcp6": ETHERNET / IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP() / b"abc",
    "udp6": ETHERNET / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP() / b"abcd",
}


def header(flags: int = 0, gso: int = 0, start: int = 0, offset: int = 0) -> bytes:
    return HEADER.pack(flags, gso, 0, 0, start, offset, 0)


@pytest.mark.parametrize("name", PACKETS)
def test_an_offloaded_checksum_is_the_one_scapy_computes(name):
    whole = bytes(PACKETS[name])
    asked = checksum.request(whole)
    assert asked is not None
    prepared, start, offset = asked
    assert prepared != whole
    sent = transmit(header(1, 0, start, offset) + prepared, csum=True, max_frame=1514)
    assert sent.frame == whole
    # Not negotiated: the flag means nothing.
    sent = transmit(header(1, 0, start, offset) + prepared, csum=False, max_frame=1514)
    assert sent.frame == prepared
    assert receive_header(whole, guest_csum=True, buffers=3)[0] == 2
    assert receive_header(prepared, guest_csum=True, buffers=3) == header()[:10] + b"\x03\x00"
    assert receive_header(whole, guest_csum=False, buffers=1)[0] == 0


def test_what_has_no_checksum_to_offload():
    assert checksum.request(bytes(ETHERNET / ARP())) is None
    assert checksum.request(bytes(PACKETS["udp4"]) + b"padding") is None
    assert checksum.request(bytes(PACKETS["udp4"])[:30]) is None


def test_zero_is_sent_as_ones_only_where_udp_has_its_checksum():
    """The rest of the data makes the sum 0xFFFF, so that its complement is 0."""
    for offset, expected in ((6, b"\xff\xff"), (16, b"\0\0")):
        frame = bytes(14) + b"\xff\xff" + bytes(30)
        assert checksum.insert(frame, 14, offset)[14 + offset : 16 + offset] == expected


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "NET_TX_TOO_SHORT"),
        (header() + bytes(13), "NET_TX_TOO_SHORT"),
        (header() + bytes(1515), "NET_TX_TOO_LONG"),
        (header(gso=1) + bytes(60), "NET_TX_BAD_HEADER"),
        (header(1, 0, 50, 9) + bytes(60), "NET_TX_BAD_CSUM"),
        (header(1, 0, 0xFFFF, 0xFFFF) + bytes(60), "NET_TX_BAD_CSUM"),
        (header(1, 0, 50, 8) + bytes(60), ""),
        (header(0xFE) + bytes(14), ""),
    ],
)
def test_frames_that_cannot_be_sent(data, error):
    result = transmit(data, csum=True, max_frame=1514)
    assert result.error == error
    assert (result.frame is None) == bool(error)


@pytest.mark.parametrize("indirect", [False, True])
def test_dropped_frames_are_counted_and_their_buffers_come_back(indirect):
    """Zero, too much, a bad header, a writable buffer: the next frame goes out all the same."""
    bench = SoftBench()
    net = bench.open()
    ring = net.pairs[0].tx.ring
    ring.indirect &= indirect
    buffer = bench.host.alloc(4096)
    buffer.mem[12 + 14] = 7

    async def post(readable: list[int], writable: int) -> None:
        pieces = [Piece(buffer.address, length) for length in readable]
        ring.add(pieces, [Piece(buffer.address + 2048, 10)] * writable, None)
        await ring.kick()
        while not ring.collect():
            await bench.host.delay(50)

    bench.run(post([12], 0))
    bench.run(post([12, 2000], 0))
    bench.run(post([100], 1))
    buffer.mem[1] = 1
    bench.run(post([100], 0))
    buffer.mem[1] = 0
    bench.run(post([12 + 60], 0))
    assert bench.device.counters == {
        "NET_TX_TOO_SHORT": 1,
        "NET_TX_TOO_LONG": 1,
        "QUEUE_BAD_DIRECTION": 1,
        "NET_TX_BAD_HEADER": 1,
        "transmitted": 1,
    }
    assert bench.device.faults == []
    assert bench.device.wire.pop() == (0, bytes(14) + b"\x07" + bytes(45))
