"""Peers by what a user writes: ``udp:127.0.0.1:5001,127.0.0.1:5000``."""

from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.capture import CapturePeer, check_captures
from tailrace_sim.fast.network.datagram import UdpPeer, UnixPeer
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.fast.network.tap import TapPeer

__all__ = ["FORMS", "check_peer", "open_peer", "try_peer"]

FORMS = "udp:HOST:PORT[,LOCALHOST:LOCALPORT], unix:PATH[,LOCALPATH], tap:NAME or pcap:[IN][,OUT]"
_KINDS = ("udp", "unix", "tap", "pcap")


def _endpoint(text: str, whole: str, *, lowest: int) -> tuple[str, int]:
    """Host and port; IPv6 addresses in brackets."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    if not colon or not plain or (":" in plain and not bracketed):
        raise UserError(f"{whole}: {text!r} is no HOST:PORT; write it like 127.0.0.1:5000")
    if not (port.isascii() and port.isdigit()) or not lowest <= int(port) <= 65535:
        raise UserError(f"{whole}: {port!r} is no port; give a number from {lowest} to 65535")
    return plain, int(port)


def _split(text: str) -> tuple[str, str, str | None]:
    """Kind, remote part, local part."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _KINDS:
        raise UserError(f"{text!r} is nothing a port can be connected to; give {FORMS}")
    remote, comma, local = rest.partition(",")
    if not remote and kind != "pcap":
        raise UserError(f"{text}: nothing behind {kind}:; give {FORMS}")
    if (comma and not local) or "," in local or (kind == "tap" and comma):
        raise UserError(f"{text}: too much or too little behind the comma; give {FORMS}")
    if kind == "pcap" and not remote and not local:
        raise UserError(f"{text}: neither a file to read nor one to write; give pcap:[IN][,OUT]")
    return kind, remote, local if comma else None


def check_peer(text: str) -> None:
    """Whether :func:`open_peer` understands this; nothing is opened.

    Raises
    ------
    UserError
        It does not.
    """
    kind, remote, local = _split(text)
    if kind == "udp":
        _endpoint(remote, text, lowest=1)
        if local is not None:
            _endpoint(local, text, lowest=0)


def try_peer(text: str) -> None:
    """Whether :func:`open_peer` works here and now: opens it and gives it back.

    Raises
    ------
    UserError
        It does not.
    """
    check_peer(text)
    kind, remote, local = _split(text)
    if kind == "pcap":
        # To open it would be to empty the file.
        check_captures(*_files(text, remote, local))
    else:
        open_peer(text).close()


def _files(text: str, remote: str, local: str | None) -> tuple[Path | None, Path | None]:
    """Capture to read and capture to write."""
    source, sink = Path(remote) if remote else None, None if local is None else Path(local)
    if source is not None and sink is not None and source.absolute() == sink.absolute():
        raise UserError(f"{text}: both files are the same; choose another one to write")
    return source, sink


def open_peer(text: str, limits: Limits | None = None) -> Peer:
    """Open what a port is to be connected to.

    Parameters
    ----------
    text : one of :data:`FORMS`
    limits : of the device

    Raises
    ------
    UserError
        The text is none of them, or the system does not give us that.
    """
    check_peer(text)
    kind, remote, local = _split(text)
    if kind == "udp":
        bound = None if local is None else _endpoint(local, text, lowest=0)
        return UdpPeer.open(_endpoint(remote, text, lowest=1), bound, limits)
    if kind == "unix":
        return UnixPeer.open(remote, local, limits)
    if kind == "tap":
        return TapPeer.open(remote, limits)
    return CapturePeer(*_files(text, remote, local), limits)
