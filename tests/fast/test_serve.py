"""``./tailrace serve``: an ordinary socket pings the device; every end is a clean one."""

import os
import re
import signal
import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

from tailrace_sim.responder import Responder

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
COMMAND = [sys.executable, "-m", "tailrace.cli.main", "serve"]
ME, HOST = "02:00:00:00:00:77", "02:54:52:00:00:01"
MINE, HIS = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def narrow(tmp_path):
    """Options for the small device."""
    path = tmp_path / "narrow.toml"
    path.write_text("width = 64\n[virtio_net]\nqueue_pairs = 2\n")
    return ["--config", str(path)]


def arp(whom=HIS):
    return bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=ME) / ARP(hwsrc=ME, psrc=MINE, pdst=whom))


def ping(payload, *, seq=1, dst=HIS, mac=HOST, **fields):
    ip = IP(src=MINE, dst=dst, **fields)
    return bytes(Ether(dst=mac, src=ME) / ip / ICMP(type=8, id=7, seq=seq) / payload)


def test_what_is_answered():
    responder = Responder(HOST, IPv4Address(HIS))
    reply = Ether(responder.answer(arp()))
    assert (reply.dst, reply.src, reply[ARP].op) == (ME, HOST, 2)
    assert (reply[ARP].psrc, reply[ARP].hwsrc, reply[ARP].pdst) == (HIS, HOST, MINE)
    # The padding of a short frame is none of the payload.
    reply = Ether(responder.answer(ping(b"abc").ljust(60, b"\0")))
    assert (reply.dst, reply[IP].src, reply[IP].dst, reply[IP].len) == (ME, HIS, MINE, 31)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 7, 1)
    assert bytes(reply[ICMP].payload)[:3] == b"abc"
    for layer in (IP, ICMP):
        sent = reply[layer].chksum
        del reply[layer].chksum
        assert Ether(bytes(reply))[layer].chksum == sent
    assert (responder.arps, responder.pings, responder.ignored) == (1, 1, 0)


@pytest.mark.parametrize(
    "frame",
    [
        b"", bytes(5), bytes(60), os.urandom(200), arp(whom="10.0.0.3"), ping(b"", dst="10.0.0.3"),
        ping(b"", mac="02:54:52:00:00:02"), ping(bytes(16), flags="MF"), ping(bytes(16), frag=3),
        ping(b"")[:40], arp()[:30], ping(b"").replace(b"\x08\x00\x45", b"\x08\x00\x4f"),
    ],
)  # fmt: skip
def test_what_is_not_answered(frame):
    responder = Responder(HOST, IPv4Address(HIS))
    assert responder.answer(frame) is None
    assert responder.ignored == 1


def test_ping_and_ctrl_c(narrow):
    """ARP, then echo requests of several lengths; then everybody is interrupted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        peer = f"udp:127.0.0.1:{sock.getsockname()[1]},127.0.0.1:0"
        serve = subprocess.Popen(
            [*COMMAND, "--port0", peer, "--address", f"{HIS}/24", *narrow],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        try:
            line = serve.stdout.readline()
            found = re.search(r",127\.0\.0\.1:(\d+)", line)
            assert found, line
            to = ("127.0.0.1", int(found[1]))
            sock.sendto(arp(), to)
            assert Ether(sock.recv(65536))[ARP].hwsrc == HOST
            sizes = (0, 56, 1472)
            for seq, size in enumerate(sizes):
                payload = os.urandom(size)
                sock.sendto(ping(payload, seq=seq), to)
                reply = Ether(sock.recv(65536))
                assert (reply[ICMP].type, reply[ICMP].seq) == (0, seq)
                assert bytes(reply[ICMP].payload)[:size] == payload
            os.killpg(serve.pid, signal.SIGINT)
            out, errors = serve.communicate(timeout=PATIENCE)
        finally:
            if serve.poll() is None:
                os.killpg(serve.pid, signal.SIGKILL)
                serve.communicate()
    assert (serve.returncode, errors.splitlines()[-1]) == (130, "tailrace: interrupted")
    assert "Traceback" not in out + errors
    lines = [" ".join(text.split()) for text in out.splitlines()]
    assert f"answered 1 ARP, {len(sizes)} pings; 0 ignored" in lines
    assert "drops none" in lines
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(to)


def call(*arguments):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=ROOT,
        timeout=PATIENCE,
    )  # fmt: skip


def test_echo_of_a_capture(narrow, tmp_path):
    """The capture's end is the end; all frames are back in a file beside the user, not the run."""
    capture = ROOT / "tests" / "data" / "arp_ping_virtio.pcap"
    out = Path(os.path.relpath(tmp_path / "out.pcap", ROOT))
    done = call("--port0", f"pcap:{capture},{out}", "--echo", "--trace", "frames", *narrow)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(text.split()) for text in done.stdout.splitlines()]
    assert {"wire, frames in 20 (9910 bytes)", "host, sent 20 (9910 bytes)"} < set(lines)
    assert sum(" port 0 in " in line for line in lines) == 20
    assert sum(" port 0 out " in line for line in lines) == 20
    assert (tmp_path / "out.pcap").stat().st_size == capture.stat().st_size


def test_a_socket_in_use(narrow):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        done = call(
            "--port0", f"udp:127.0.0.1:9,127.0.0.1:{sock.getsockname()[1]}", "--seconds", "1",
            *narrow,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("tailrace: ")
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_seconds(narrow):
    done = call("--port0", "udp:127.0.0.1:9", "--seconds", "0.5", "--realtime", "0.01", *narrow)
    assert done.returncode == 0, done.stderr
    assert "host, received" in done.stdout
