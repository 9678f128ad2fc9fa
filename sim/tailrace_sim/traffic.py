"""Generated frames: valid Ethernet, IPv4 and UDP of any size, many flows, from a seed."""

import random
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tailrace_hw.config import Config

__all__ = ["MAX_SIZE", "MIN_SIZE", "generate", "load_frames", "save_frames"]

#: Smallest frame that holds Ethernet, IPv4 and UDP headers, without FCS.
MIN_SIZE = 14 + 20 + 8
#: Longest frame that the default device takes.
MAX_SIZE = Config().virtio_net.max_frame


def generate(count: int, size: int | None, seed: int) -> list[bytes]:
    """Frames with correct checksums.

    Parameters
    ----------
    count : number of frames
    size : bytes of each without FCS, ``MIN_SIZE`` to ``MAX_SIZE``; None: random from 60 to 1514
    seed : of addresses, ports, payload and sizes
    """
    rng = random.Random(seed)
    flows = [
        (f"10.9.{rng.randrange(256)}.{rng.randrange(1, 255)}", rng.randrange(1024, 65536))
        for _ in range(16)
    ]
    frames = []
    for _ in range(count):
        length = rng.randrange(60, 1515) if size is None else size
        address, port = rng.choice(flows)
        packet = (
            Ether(src="02:00:00:00:00:02", dst="02:54:52:00:00:01")
            / IP(src=address, dst="10.9.0.1")
            / UDP(sport=port, dport=4791)
            / rng.randbytes(length - MIN_SIZE)
        )
        frames.append(bytes(packet))
    return frames


def save_frames(path: Path, frames: list[bytes]) -> None:
    """Hand frames to the simulator's process: one hexadecimal line a frame."""
    path.write_text("".join(f"{frame.hex()}\n" for frame in frames))


def load_frames(path: Path) -> list[bytes]:
    """What :func:`save_frames` wrote."""
    return [bytes.fromhex(line) for line in path.read_text().split()]
