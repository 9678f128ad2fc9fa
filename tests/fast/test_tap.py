"""TAP devices at a port, without a simulation: the machine's own, and those that we do not get."""

import errno
import os
import socket
import subprocess
import time

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.network.tap import TapPeer


def tap_complaint(name):
    """Why there is no TAP here; None if there is."""
    try:
        open_peer(f"tap:{name}").close()
    except UserError as error:
        return str(error)
    return None


def test_tap(attached):
    """With the right to it: frames to and from the interface. Without: a line that says so."""
    name = f"tailrace{os.getpid() % 10000}"
    complaint = tap_complaint(name)
    if complaint is not None:
        assert complaint.startswith(f"tap:{name}: ")
        assert any(text in complaint for text in ("no permission; run as root", "has no /dev/net"))
        pytest.skip(complaint)
    peer, port = attached(f"tap:{name}")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as raw:
        raw.settimeout(10)
        raw.bind((name, 0x88B5))
        frame = bytes(12) + b"\x88\xb5" + bytes(50)
        raw.send(frame)
        deadline = time.monotonic() + 60
        while frame not in port.entered:
            assert time.monotonic() < deadline
            peer.pump()
        port.leave(frame[::-1][:12] + frame[12:])
        peer.pump()
        assert raw.recv(100) == frame
    with pytest.raises(UserError, match="in use"):
        open_peer(f"tap:{name}")


@pytest.mark.parametrize("name", ["x" * 16, "a b", "a/b"])
def test_tap_names(name):
    with pytest.raises(UserError, match="1 to 15 letters"):
        TapPeer.open(name)


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (errno.EPERM, "no permission; run as root, or once `sudo ip tuntap add t0 mode tap"),
        (errno.EACCES, "no permission"),
        (errno.ENOENT, "has no /dev/net/tun; use udp: or unix: instead"),
        (errno.EBUSY, "in use by another program"),
        (errno.EINVAL, "an interface of another kind"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_tap_that_we_do_not_get(monkeypatch, number, complaint):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError) as raised:
        open_peer("tap:t0")
    assert str(raised.value).startswith("tap:t0: ")
    assert complaint in str(raised.value)
