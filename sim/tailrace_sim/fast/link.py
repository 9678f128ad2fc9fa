"""Cables between ports of the devices of a simulation."""

from dataclasses import dataclass
from typing import Any

from tailrace_sim.fast.mac_port import FastPort

__all__ = ["Counters", "Faults", "Link", "cable"]

_WHOLE = 1_000_000
_SHARES = ("loss", "reorder", "duplicate", "corrupt")


@dataclass(frozen=True)
class Faults:
    """What happens to frames on their way; shares are from 0 to 1, each frame's lot is its own.

    Attributes
    ----------
    delay_ns : from the last beat out to the first beat in, at least
    loss : share of frames that do not arrive
    reorder : share of frames that arrive ``reorder_ns`` later, behind others
    duplicate : share of frames that arrive twice; each copy has its own lot from there on
    corrupt : share of frames with one wrong bit, and the mark of a bad FCS: the receiver drops them
    """

    delay_ns: float = 0
    loss: float = 0
    reorder: float = 0
    duplicate: float = 0
    corrupt: float = 0
    reorder_ns: float = 2000

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        for name in ("delay_ns", "reorder_ns"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ValueError(f"{name} must be 0 to 1e9, not {getattr(self, name)}")


@dataclass(frozen=True)
class Counters:
    """Frames of a link so far.

    Attributes
    ----------
    taken : left the one port
    lost, duplicated, corrupted, reordered : as told in :class:`Faults`
    delivered : entered the other port completely, corrupted ones too
    in_flight : on the cable, or at its end waiting for the port
    """

    taken: int
    lost: int
    duplicated: int
    corrupted: int
    reordered: int
    delivered: int
    in_flight: int


class Link:
    """One direction of a cable: what leaves ``source`` enters ``target``.

    The frames are the core's own affair: they are not in ``source.received`` and not in
    ``target.sent``, and Python learns of them only if somebody watches the ports. Python may still
    send to ``target``.

    Parameters
    ----------
    source, target : ports of devices of the same simulation, maybe of the same one. A port has one
        link out at most
    faults : may be changed at any time with :meth:`set`
    """

    def __init__(self, source: FastPort, target: FastPort, faults: Faults | None = None):
        if source.kernel is not target.kernel:
            raise ValueError("the two ports are not in the same simulation")
        if source.linked:
            raise ValueError("the port has a link already")
        kernel = source.kernel
        self._link: Any = kernel.lib.tr_connect(
            kernel.world, source.device, source.index, target.device, target.index
        )
        source.linked = True
        self.set(faults or Faults())

    def set(self, faults: Faults) -> None:
        """Other faults, from the next frame on."""
        self._link.delay = round(1000 * faults.delay_ns)
        self._link.reorder_delay = round(1000 * faults.reorder_ns)
        for name in _SHARES:
            setattr(self._link, name, round(_WHOLE * getattr(faults, name)))

    def counters(self) -> Counters:
        """Frames so far; every one of them is accounted for, or this is an error.

        Raises
        ------
        AssertionError
            What came and what went do not agree with what is under way.
        """
        link = self._link
        taken, lost, duplicated = int(link.taken), int(link.lost), int(link.duplicated)
        gone = lost + int(link.arrived)
        if taken + duplicated != gone + link.under_way or link.delivered > link.arrived:
            raise AssertionError(
                f"link: {taken} frames taken and {duplicated} duplicated, but {lost} lost, "
                f"{link.under_way} under way, {link.arrived} arrived, {link.delivered} delivered"
            )
        return Counters(
            taken=taken, lost=lost, duplicated=duplicated, corrupted=int(link.corrupted),
            reordered=int(link.reordered), delivered=int(link.delivered),
            in_flight=taken + duplicated - lost - int(link.delivered),
        )  # fmt: skip


def cable(a: FastPort, b: FastPort, faults: Faults | None = None) -> tuple[Link, Link]:
    """Both directions, with the same faults: from ``a`` to ``b``, and back."""
    return Link(a, b, faults), Link(b, a, faults)
