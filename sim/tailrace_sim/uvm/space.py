"""The test space of the virtio-net path: rings, buffer geometries, bins, and what falls into them.

Nothing here needs a simulator.
"""

import functools
from collections import defaultdict
from dataclasses import dataclass

from tailrace.virtio.net_types import NetOptions
from tailrace_sim.uvm.coverage import Coverage, Group, Range, bin_of

__all__ = [
    "ALIGNMENTS",
    "CHAINS",
    "GEOMETRIES",
    "HEADER",
    "IN_FLIGHT",
    "LONGEST",
    "RINGS",
    "RX_FATES",
    "RX_FLAGS",
    "SIZES",
    "STALLS",
    "TX_FATES",
    "TX_FLAGS",
    "Geometry",
    "Ring",
    "alignment_of",
    "make_coverage",
    "receive_fate",
    "receive_sizes",
    "smallest",
]

#: struct virtio_net_hdr (virtio 1.2, 5.1.6).
HEADER = 12
#: Receive descriptors that all frames on their way may take together, so that the ring never runs
#: out and a slow host does not make the device's receive buffer overflow. (One frame may take 128,
#: ``VirtioNetConfig.prefetch``.)
IN_FLIGHT = 24
#: Longest frame at the default MTU of 9000: Ethernet header and two tags.
LONGEST = 9022

SIZES = (
    Range("14-63", 14, 63),
    Range("64-255", 64, 255),
    Range("256-1023", 256, 1023),
    Range("1024-1518", 1024, 1518),
    Range("jumbo", 1519, LONGEST),
)
#: Descriptors that hold header and frame.
CHAINS = (
    Range("1", 1, 1),
    Range("2", 2, 2),
    Range("3-4", 3, 4),
    Range("5-8", 5, 8),
    Range("9+", 9, 1 << 16),
)
ALIGNMENTS = ("line", "dword", "half", "odd")
#: Who makes whom wait: nobody, the wire, the host's link and memory, both.
STALLS = ("none", "wire", "host", "both")
#: No checksum to look at; right ones; one wrong.
RX_FLAGS = ("none", "right", "wrong")
#: VIRTIO_NET_HDR_F_NEEDS_CSUM and for which protocol.
TX_FLAGS = ("none", "tcp", "udp")
RX_FATES = ("delivered", "bad", "runt", "oversize")
TX_FATES = ("sent", "short", "bad csum")


@dataclass(frozen=True)
class Ring:
    """A ring type.

    Attributes
    ----------
    name : its bin
    packed, indirect : VIRTIO_F_RING_PACKED, VIRTIO_F_INDIRECT_DESC
    """

    name: str
    packed: bool
    indirect: bool


RINGS = (
    Ring("split", False, False),
    Ring("split indirect", False, True),
    Ring("packed", True, False),
    Ring("packed indirect", True, True),
)


@dataclass(frozen=True)
class Geometry:
    """Receive buffers: ``buffer`` bytes in ``pieces`` descriptors, ``count`` of them a queue."""

    buffer: int
    pieces: int
    count: int = 128

    def buffers(self, size: int) -> int:
        """Buffers that a frame takes with its header (5.1.6.4)."""
        return -(-(HEADER + size) // self.buffer)

    def descriptors(self, size: int) -> int:
        """Descriptors that header and frame reach into."""
        full, rest = divmod(HEADER + size, self.buffer)
        edges = (self.buffer * i // self.pieces for i in range(self.pieces))
        return full * self.pieces + sum(edge < rest for edge in edges)

    @property
    def longest(self) -> int:
        """Longest frame that may be sent into these buffers."""
        return min(LONGEST, IN_FLIGHT // self.pieces * self.buffer - HEADER)

    def tail(self, size: int) -> int:
        """Bytes used of the last buffer."""
        return (HEADER + size - 1) % self.buffer + 1

    def options(self, ring: Ring, *, event_idx: bool, queue_pairs: int) -> NetOptions:
        return NetOptions(
            packed=ring.packed,
            indirect=ring.indirect,
            event_idx=event_idx,
            queue_pairs=queue_pairs,
            rx_buffer=self.buffer,
            rx_pieces=self.pieces,
            rx_count=self.count,
            rx_size=1024,
        )


#: Together they let every frame size lie in every number of descriptors. The last makes the device
#: keep chains of many segments together.
GEOMETRIES = (
    Geometry(2048, 1),
    Geometry(2048, 2),
    Geometry(400, 1),
    Geometry(400, 2),
    Geometry(64, 1),
    Geometry(16, 2),
    Geometry(64, 8),
)


def alignment_of(address: int) -> str:
    """Alignment of an address, or of a length from an aligned one."""
    if address % 64 == 0:
        return "line"
    return {0: "dword", 2: "half"}.get(address % 4, "odd")


def smallest(flags: str) -> int:
    """Shortest frame of a kind: Ethernet, IPv4 and the transport's header where there is one."""
    return {"none": 14, "tcp": 54}.get(flags, 42)


def receive_fate(size: int, error: bool, lengths: tuple[int, int]) -> str:
    """What becomes of a frame at the port: one of ``RX_FATES``.

    Parameters
    ----------
    size : of the frame
    error : the MAC marks it as bad
    lengths : shortest and longest frame that the port passes on
    """
    if error:
        return "bad"
    low, high = lengths
    if size < low:
        return "runt"
    return "oversize" if size > high else "delivered"


@functools.cache
def receive_sizes(geometry: Geometry) -> dict[tuple[str, str, str], list[int]]:
    """Frame sizes by (chain, alignment, size) bins that buffers of this geometry can show.

    A frame that alone takes more descriptors than may be in flight is left out.
    """
    found = defaultdict(list)
    for size in range(SIZES[0].low, geometry.longest + 1):
        chain = bin_of(CHAINS, geometry.descriptors(size))
        found[chain, alignment_of(geometry.tail(size)), bin_of(SIZES, size)].append(size)
    return dict(found)


def _dimensions(flags: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        "ring": tuple(ring.name for ring in RINGS),
        "chain": tuple(entry.name for entry in CHAINS),
        "alignment": ALIGNMENTS,
        "size": tuple(entry.name for entry in SIZES),
        "flags": flags,
        "stall": STALLS,
    }


def make_coverage() -> Coverage:
    """The groups with their goals: every pair of bins in each."""
    rings = tuple(ring.name for ring in RINGS)
    return Coverage(
        Group("receive", _dimensions(RX_FLAGS)),
        Group("transmit", _dimensions(TX_FLAGS)),
        Group("receive fate", {"ring": rings, "fate": RX_FATES}),
        Group("transmit fate", {"ring": rings, "fate": TX_FATES}),
    )
