"""Nobody at a port: no frames come, and what leaves is lost."""

from tailrace_sim.fast.network.peer import Peer

__all__ = ["Nowhere"]


class Nowhere(Peer):
    """An open end; frames that leave are counted as refused."""

    def _read(self) -> bytes | None:
        return None

    def _write(self, frame: bytes, cycle: int) -> bool:
        self.counters.refused += 1
        return False

    def _close(self) -> None:
        """There is nothing to give back."""
