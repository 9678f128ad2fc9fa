"""What a demo says of the cipher engine."""

from dataclasses import dataclass

from tailrace_hw.config import Config

__all__ = ["Sealed", "sealed_rows"]


@dataclass(frozen=True)
class Sealed:
    """Frames that went through the cipher engine and back.

    Attributes
    ----------
    messages, bytes : how many frames, and what is in them
    keys : bits of the keys that they took in turn
    seal_cycles, open_cycles : from the first job to the end of the last
    sealed, opened : of the messages, those that were as `cryptography` makes them, and as they were
    damaged : status of the job that was to open a message with a wrong bit
    written : bytes that it wrote nevertheless
    """

    messages: int
    bytes: int
    keys: list[int]
    seal_cycles: int
    open_cycles: int
    sealed: int
    opened: int
    damaged: str
    written: int

    def wrong(self) -> str | None:
        """What is not as it must be."""
        if self.sealed != self.messages:
            return f"{self.messages - self.sealed} messages are not sealed as `cryptography` does"
        if self.opened != self.messages:
            return f"{self.messages - self.opened} messages did not come out as they went in"
        if self.damaged != "AUTHENTICATION_FAILED":
            return f"a damaged message ended with {self.damaged}"
        if self.written:
            return f"{self.written} bytes of a damaged message were written"
        return None


def sealed_rows(sealed: Sealed | None, config: Config) -> list[tuple[str, str]]:
    """The second table of a demo; ``None`` if there is no cipher engine."""
    if sealed is None:
        return [("cipher engine", "none in this configuration (jobs.keys = 0)")]

    def rate(cycles: int) -> str:
        each = sealed.bytes / max(cycles, 1)
        return (
            f"{cycles} cycles, {each:.1f} B a cycle,"
            f" {8 * each * config.clock_hz / 1e9:.2f} Gb/s at {config.clock_hz / 1e6:g} MHz"
        )

    keys = " and ".join(str(bits) for bits in sealed.keys)
    return [
        ("AES-GCM by job queue", f"{sealed.messages} frames, {sealed.bytes} B, keys of {keys} bits"
                                 " in turn"),
        ("sealed", rate(sealed.seal_cycles)),
        ("opened again", rate(sealed.open_cycles)),
        ("a damaged message", f"{sealed.damaged}, {sealed.written} B written"),
    ]  # fmt: skip
