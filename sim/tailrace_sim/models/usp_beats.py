"""Beats of the integrated block's requester interfaces (PG213): a design's requests, and what it
makes of completions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

__all__ = ["RcMonitor", "Tlp", "read_tlp", "rq_beats", "write_tlp"]


@dataclass
class Tlp:
    """A requester request; ``discontinue`` marks its last beat as bad."""

    write: bool
    address: int
    length: int
    first_be: int
    last_be: int
    tag: int = 0
    seq_num: int = 0
    function: int = 1
    data: list[int] = field(default_factory=list)
    traffic_class: int = 0
    attributes: int = 0
    discontinue: bool = False

    def fields(self) -> int:
        """Tag, traffic class and attributes, as a descriptor has them."""
        return self.tag | self.traffic_class << 25 | self.attributes << 28

    def dwords(self) -> list[int]:
        """Descriptor and payload."""
        return [
            self.address & 0xFFFFFFFC, self.address >> 32,
            self.length | self.write << 11 | self.function << 16, self.fields() | 1 << 24,
            *self.data,
        ]  # fmt: skip


def write_tlp(address: int, data: bytes, first_be: int = 15, last_be: int = 15) -> Tlp:
    """A write of whole dwords, the first and the last of them as far as the byte enables say."""
    words = list(memoryview(data).cast("I"))
    return Tlp(True, address, len(words), first_be, last_be * (len(words) > 1), data=words)


def read_tlp(address: int, count: int, tag: int, first_be: int = 15, last_be: int = 15) -> Tlp:
    """A read of ``count`` dwords."""
    return Tlp(False, address, count, first_be, last_be * (count > 1), tag)


def rq_beats(tlps: Iterable[Tlp], width: int, rng: Random) -> Iterator[dict[str, int]]:
    """Beats of requests back to back, with straddle at 512 bits where the dice say so."""
    if width == 256:
        for tlp in tlps:
            dwords = tlp.dwords()
            for start in range(0, len(dwords), 8):
                piece = dwords[start : start + 8]
                user = tlp.first_be | tlp.last_be << 4
                user |= (tlp.seq_num & 15) << 24 | (tlp.seq_num >> 4) << 60
                last = start + 8 >= len(dwords)
                yield {
                    "tdata": sum(d << 32 * k for k, d in enumerate(piece)),
                    "tkeep": (1 << len(piece)) - 1,
                    "tuser": (user if start == 0 else 0) | (last and tlp.discontinue) << 11,
                    "tlast": int(last),
                }
        return
    queue = [(tlp, tlp.dwords()) for tlp in tlps]
    done = 0
    while queue:
        data = user = starts = ends = lane = 0
        while lane < 16 and queue:
            tlp, dwords = queue[0]
            if done == 0:
                if lane and (starts == 2 or ends == 2 or rng.random() < 0.2):
                    break
                user |= 1 << 20 + starts | lane // 4 << 22 + 2 * starts
                user |= tlp.first_be << 4 * starts | tlp.last_be << 8 + 4 * starts
                user |= tlp.seq_num << 61 + 6 * starts
                starts += 1
            piece = dwords[done : done + 16 - lane]
            data |= sum(d << 32 * (lane + k) for k, d in enumerate(piece))
            lane += len(piece)
            done += len(piece)
            if done == len(dwords):
                user |= 1 << 26 + ends | (lane - 1) << 28 + 4 * ends | tlp.discontinue << 36
                ends += 1
                queue.pop(0)
                done = 0
                lane = 16 if lane > 8 else 8
        yield {"tdata": data, "tuser": user, "tkeep": 0xFFFF, "tlast": 0}


class RcMonitor:
    """Puts the completions of RC beats together, and checks their framing.

    Attributes
    ----------
    tlps : (dwords with descriptor, byte enables of each)
    bad : whether a beat in which it ended was marked as discontinued, of each
    """

    def __init__(self, width: int):
        self.width = width
        self.tlps: list[tuple[list[int], list[int]]] = []
        self.bad: list[bool] = []
        self.open: tuple[list[int], list[int]] | None = None

    def beat(self, data: int, user: int, keep: int, last: int) -> None:
        """A beat that was handed over."""
        wide = self.width == 512
        lanes = self.width // 32
        if wide:
            starts = [4 * (user >> 68 + 2 * k & 3) for k in range(4) if user >> 64 + k & 1]
            ends = [user >> 80 + 4 * k & 15 for k in range(4) if user >> 76 + k & 1]
            assert not last
        else:
            starts = [0] if user >> 32 & 1 else []
            ends = [user >> 35 & 7] if user >> 34 & 1 else []
            assert last == len(ends)
        assert (self.open is None) == (0 in starts)
        pieces: list[tuple[int, tuple[list[int], list[int]]]]
        pieces = [] if self.open is None else [(0, self.open)]
        pieces += [(lane, ([], [])) for lane in starts]
        used = 0
        self.open = None
        for index, (lane, piece) in enumerate(pieces):
            end = ends[index] if index < len(ends) else lanes - 1
            for k in range(lane, end + 1):
                piece[0].append(data >> 32 * k & 0xFFFFFFFF)
                piece[1].append(user >> 4 * k & 15)
                used |= 1 << k
            if index < len(ends):
                self.tlps.append(piece)
                self.bad.append(bool(user >> (96 if wide else 42) & 1))
            else:
                self.open = piece
        assert keep == used
