"""``./tailrace serve``: an ordinary socket pings the device; every end is a clean one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

from tailrace.cli.main import main
from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.build import build_root
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.fast.network.address import open_peer, try_peer
from tailrace_sim.responder import Responder
from tailrace_sim.run import run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
COMMAND = [sys.executable, "-m", "tailrace.cli.main", "serve"]
ME, HOST = "02:00:00:00:00:77", "02:54:52:00:00:01"
MINE, HIS = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def narrow(tmp_path):
    """Options for the small device."""
    path = tmp_path / "narrow.toml"
    path.write_text("width = 64\n[virtio_net]\nqueue_pairs = 2\n[jobs]\nkeys = 0\n")
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


def test_ctrl_c_while_the_driver_is_brought_up(tmp_path):
    """The summary says when; nothing was open yet."""
    config = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
    told = tmp_path / "told"
    with pytest.raises(KeyboardInterrupt):
        run(
            build_device(config, backend="fast"), "serve_cocotb", name="serve-interrupted",
            tests=["interrupted_while_it_starts"], python_path=[Path(__file__).parent],
            parameters={"config": config.to_dict(), "peer": "udp:127.0.0.1:9", "cwd": str(tmp_path),
                        "told": str(told), "address": HIS, "echo": False},
        )  # fmt: skip
    assert told.exists()
    lines = (build_root() / "run" / "serve-interrupted" / "simulation.log").read_text()
    assert re.search(r"^time +\d+\.\d s, simulated 0\.00\d ms", lines, re.MULTILINE), lines
    assert re.search(r"^interrupted +while the driver was brought up", lines, re.MULTILINE)


@pytest.mark.parametrize("seconds", [0, 0.7, 1.4])
def test_ctrl_c_at_any_moment_of_the_start(narrow, seconds):
    """Whatever it is at: a summary, no traceback, nobody left."""
    serve = subprocess.Popen(
        [*COMMAND, "--port0", "udp:127.0.0.1:9", *narrow],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        start_new_session=True, preexec_fn=hear,
    )  # fmt: skip
    try:
        children = Path(f"/proc/{serve.pid}/task/{serve.pid}/children")
        end = time.monotonic() + PATIENCE
        # The compiler that is asked for its version is one too.
        while not any(is_simulation(int(pid)) for pid in children.read_text().split()):
            assert time.monotonic() < end, "no simulation was started"
            time.sleep(0.02)
        time.sleep(seconds)
        os.killpg(serve.pid, signal.SIGINT)
        out, errors = serve.communicate(timeout=PATIENCE)
    finally:
        if serve.poll() is None:
            os.killpg(serve.pid, signal.SIGKILL)
            serve.communicate()
    assert (serve.returncode, errors.splitlines()[-1]) == (130, "tailrace: interrupted")
    assert "Traceback" not in out + errors
    assert re.search(r"^time  ", out, re.MULTILINE), out
    assert re.search(r"^wire", out, re.MULTILINE), out


def hear():
    """In a child: a shell that has put us into the background has made us deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_simulation(pid):
    try:
        return "tailrace_sim.fast.process" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def verb(monkeypatch, capsys, build, *arguments):
    """(exit code, standard output, standard error) of a verb in this process."""
    for module in ("serve", "demo"):
        monkeypatch.setattr(f"tailrace_sim.cli.{module}.build_for_user", build)
    monkeypatch.setattr(sys, "argv", ["tailrace", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_while_the_device_is_built(monkeypatch, capsys, tmp_path):
    code, out, err = verb(monkeypatch, capsys, interrupted, "serve", "--port0", "udp:127.0.0.1:9")
    assert (code, err) == (130, "tailrace: interrupted\n")
    assert re.search(r"^interrupted +while the device was built", out, re.MULTILINE)
    assert re.search(r"^wire +no frame in or out; udp:127.0.0.1:9 was not open", out, re.MULTILINE)
    code, out, err = verb(monkeypatch, capsys, interrupted, "demo", "-o", tmp_path)
    assert (code, err) == (130, "tailrace: interrupted\n")
    assert out == "0 of 20 frames were back; the driver was not up yet\n"


@pytest.mark.parametrize(
    ("peer", "complaint"),
    [
        ("udp:127.0.0.1:9,127.0.0.1:{port}", "in use by another program"),
        ("udp:127.0.0.1:9,192.0.2.1:0", "no address of this machine"),
        ("unix:{tmp}/none/a", "in a folder that does not exist"),
        ("unix:{tmp}/a,{tmp}/file", "exists and is no socket"),
        ("tap:a/b", "an interface's name has"),
        ("pcap:{tmp}/none.pcap", "none.pcap"),
        ("pcap:{tmp}/file", "file"),
        ("pcap:,{tmp}/none/out.pcap", "cannot be written"),
        ("pcap:,{tmp}", "cannot be written: Is a directory"),
        ("carrier:pigeon", "nothing a port can be connected to"),
    ],
)
def test_a_bad_peer_is_told_before_the_build(monkeypatch, capsys, tmp_path, peer, complaint):
    def build(*_, **__):
        raise AssertionError("minutes were spent on a build")

    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        text = peer.format(port=sock.getsockname()[1], tmp=tmp_path)
        code, out, err = verb(monkeypatch, capsys, build, "serve", "--port0", text)
    assert (code, out) == (1, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_trying_a_capture_leaves_it_alone(tmp_path):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")
    try_peer(f"pcap:,{out}")
    assert out.read_bytes() == b"precious"


def test_trying_a_socket_gives_it_back(tmp_path):
    try_peer(f"unix:{tmp_path}/a,{tmp_path}/b")
    assert not list(tmp_path.iterdir())
    open_peer(f"unix:{tmp_path}/a,{tmp_path}/b").close()


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
    config = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
    build_device(config, backend="fast")
    done = call("--port0", "udp:127.0.0.1:9", "--seconds", "0.5", "--realtime", "0.01", *narrow)
    assert done.returncode == 0, done.stderr
    assert "building" not in done.stderr, "it was there"
    assert "host, received" in done.stdout
