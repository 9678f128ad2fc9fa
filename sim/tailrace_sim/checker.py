"""The rules of a packet stream, watched from Python.

The same rules as :class:`tailrace_hw.lib.checker.PacketChecker`. One class knows them; the monitor
for Amaranth's simulator is here, the one for cocotb in :mod:`tailrace_sim.bfm.packet_stream`.
"""

from typing import Any

__all__ = ["PacketRules", "ProtocolError", "watch_packets"]


class ProtocolError(AssertionError):
    """A packet stream broke a rule; the message says which stream, which rule and where."""


class PacketRules:
    """Judges a packet stream from what it shows at each clock edge.

    Parameters
    ----------
    name : of the stream, for messages
    constant_meta : metadata may not change within a packet; False for a stream whose owner gives a
        member a meaning on the last beat only
    """

    def __init__(self, name: str, constant_meta: bool = True):
        self._name = name
        self._constant_meta = constant_meta
        self._waiting: Any = None
        self._meta: Any = None
        self._inside = False
        #: Beats and packets taken so far; a test that ends with 0 has checked nothing.
        self.beats = 0
        self.packets = 0

    def _insist(self, rule: bool, broken: str) -> None:
        if not rule:
            where = f"packet {self.packets}, beat {self.beats} of the stream"
            raise ProtocolError(f"{self._name}: {broken} ({where})")

    def reset(self) -> None:
        """The stream is in reset: whatever was under way is forgotten."""
        self._waiting = None
        self._inside = False

    def observe(self, valid: int, ready: int, beat: Any = None) -> None:
        """One clock edge. ``beat`` has ``last``, ``empty`` and ``meta``, and compares by value; it
        is looked at only when ``valid``.

        Raises
        ------
        ProtocolError
        """
        if not valid:
            self._insist(self._waiting is None, "valid fell before the beat was taken")
            return
        if self._waiting is not None:
            self._insist(beat == self._waiting, "the payload changed before the beat was taken")
        self._insist(beat.last or not beat.empty, "empty bytes before the last beat")
        if self._inside and self._constant_meta:
            self._insist(beat.meta == self._meta, "the metadata changed within the packet")
        self._waiting = None if ready else beat
        if ready:
            self._inside = not beat.last
            self._meta = beat.meta
            self.beats += 1
            self.packets += int(beat.last)


async def watch_packets(ctx, stream, rules: PacketRules, domain="sync") -> None:
    """Background testbench for Amaranth's simulator: judge ``stream`` for ever."""
    while True:
        _, reset, valid, ready, beat = await ctx.tick(domain).sample(
            stream.valid, stream.ready, stream.payload
        )
        if reset:
            rules.reset()
        else:
            rules.observe(valid, ready, beat)
