"""A session with fake programs: every end is a clean one and says why."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.linux.session import Session, SessionOptions
from tailrace_sim.linux.simulation import Simulation

PATIENCE = 60
#: Listens, ends when it is told to; `path` of a function's socket.
PLUG = """
arguments = sys.argv[1:]
sockets = [a.split("=", 2)[2] for a in arguments if a.startswith("--function=")]
for path in sockets:
    open(path, "w").close()
def end(*_):
    print("the last line", flush=True)
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
print("noise before", flush=True)
print("port 0 is at x; Ctrl-C ends it", flush=True)
print(" ".join(a for a in arguments if not a.startswith("--function")), flush=True)
"""
WAITS = PLUG + "signal.pause()\n"
#: Takes orders and knows one; says which came.
OBEYS = (
    PLUG
    + """
import socket
path = next(a.partition("=")[2] for a in arguments if a.startswith("--control="))
control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
control.bind(path)
while True:
    order, sender = control.recvfrom(100)
    print(f"order {order.decode()}", flush=True)
    control.sendto(b"ok" if order == b"link down" else b"no order of that name", sender)
"""
)
OK = 'say("hello"); tell("exit 0 a"); tell("end")'


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Nobody waits long for the end of a fake."""
    monkeypatch.setattr("tailrace_sim.linux.simulation._END", 0.2)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where the sockets are; nothing may be left of it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == [], "a folder was left behind"
    assert children() == [], "a process was left behind"


def children():
    """Processes of ours that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.fixture
def session(fake_qemu, fake_plug, tmp_path, scratch):
    """``session(body of QEMU, body of the simulation, further options)``."""

    def make(body, plug=WAITS, *, peer="guest", fakes=None, **options):
        options.setdefault("scripts", {"a": "true"})
        command = fake_plug(plug)
        shown = []
        made = Session(
            fake_qemu(body, **(fakes or {})),
            SessionOptions(peer=peer, **options),
            tmp_path / "run",
            shown.append,
            lambda *given: Simulation(*given, command=command),
        )
        made.shown = shown
        return made

    return make


def test_scripts_that_pass(session):
    made = session(OK, scripts={"a": "true", "b": "false"}, plug=WAITS)
    outcome = made.run()
    assert outcome.problem is None
    assert outcome.statuses == {"a": 0}
    assert made.shown == ["hello"]
    (lines,) = outcome.summaries.values()
    given, last = lines
    assert last == "the last line"
    assert "--once" in given
    assert "--port0=unix:" in given


@pytest.mark.parametrize(
    ("peer", "rings", "host", "other"),
    [
        ("guest", "packed", 0, 0),
        ("guest", "split", 1 << 34, 0),
        ("dpu", "packed", 0, 3),
        ("dpu", "split", 1 << 34, 1 << 34 | 3),
    ],
)
def test_what_a_device_does_not_offer(session, peer, rings, host, other):
    """Packed rings (virtio 1.2, 6); and checksums (5.1.3) if its guest is to verify ours."""
    body = """
import re
withheld = int(re.search(rb"WITHHELD=(0x[0-9a-f]+)", initrd)[1], 16)
"""
    fakes = {"peer": body + f"if role == 'peer': withheld == {other} or sys.exit('x'); forever()\n"}
    made = session(
        body + f"time.sleep(1); tell(f'exit {{int(withheld != {host})}} a'); tell('end')",
        peer=peer, rings=rings, fakes=fakes,
    )  # fmt: skip
    outcome = made.run()
    assert outcome.problem is None
    assert outcome.statuses == {"a": 0}


def test_a_script_that_fails(session):
    outcome = session('tell("exit 4 a"); tell("end")').run()
    assert outcome.statuses == {"a": 4}
    assert outcome.problem is None


def test_an_ordinary_nic_to_compare_with(session):
    """No simulation is started, and no order is taken."""
    body = """
plain = any("virtio-net-pci" in a for a in arguments) and not any("vfio" in a for a in arguments)
tell("wire link down"); tell(f"exit {int(not plain)} a"); tell("end")
"""
    outcome = session(body, plain=True).run()
    assert outcome.problem is None
    assert outcome.statuses == {"a": 0}
    assert outcome.summaries == {}


def test_orders_of_a_script(session):
    """They reach the simulation, in their order, and no other."""
    body = """
for _ in range(2):
    tell("wire link down")
time.sleep(2); tell("exit 0 a"); tell("end")
"""
    outcome = session(body, plug=OBEYS).run()
    assert outcome.problem is None
    assert outcome.statuses == {"a": 0}
    (lines,) = outcome.summaries.values()
    assert [line for line in lines if line.startswith("order")] == ["order link down"] * 2


@pytest.mark.parametrize(
    ("plug", "words"),
    [
        (OBEYS, "the simulation of dpu refuses 'link sideways': no order of that name"),
        (WAITS, "the simulation of dpu takes no orders: link sideways: No such file"),
    ],
)
def test_an_order_that_is_none(session, plug, words):
    outcome = session('tell("wire link sideways"); forever()', plug=plug).run()
    assert outcome.problem.startswith(words)


@pytest.mark.parametrize(
    ("peer", "simulations", "port0"),
    [
        ("none", 1, None),
        ("dpu", 2, "--port0=unix:"),
        ("pcap:,out.pcap", 1, "--port0=pcap:,out.pcap"),
    ],
)
def test_the_other_end(session, peer, simulations, port0):
    outcome = session(OK, peer=peer).run()
    assert len(outcome.summaries) == simulations
    for given, _ in outcome.summaries.values():
        assert ("--port0" in given) == (port0 is not None)
        assert port0 is None or port0 in given
    if peer == "dpu":
        first, second = [
            given.split("--port0=unix:")[1].split()[0].split(",")
            for given, _ in outcome.summaries.values()
        ]
        assert first == second[::-1], "the two are not joined"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('qemu: no memory')", "QEMU of the guest ended with exit status 1: qemu: no mem"),
        ("tell('start a'); os.kill(os.getpid(), 9)", "QEMU of the guest ended with signal 9"),
        ("[tell('boot') for _ in range(9)]; forever()", "the guest boots again and again; see"),
    ],
    ids=["refuses", "is killed", "boots without end"],
)
def test_a_guest_that_dies(session, body, words):
    outcome = session(body).run()
    assert words in outcome.problem
    assert outcome.statuses == {}
    # The simulation has its say all the same.
    assert all(lines[-1] == "the last line" for lines in outcome.summaries.values())


def test_a_shell_may_reboot_as_often_as_it_likes(session):
    """Its user sees what happens."""
    body = "[(tell('boot'), time.sleep(0.2)) for _ in range(9)]"
    assert session(body, scripts={}).run().problem is None


def test_a_peer_that_dies(session):
    outcome = session("forever()", fakes={"peer": "if role == 'peer': sys.exit('gone')\n"}).run()
    assert outcome.problem == "the QEMU of the peer ended with exit status 1: gone"
    fakes = {"peer": "if role == 'peer': tell('trouble no network'); forever()\n"}
    outcome = session("forever()", fakes=fakes).run()
    assert "the peer found no network device" in outcome.problem


@pytest.mark.parametrize(
    ("plug", "words"),
    [
        (PLUG + "time.sleep(1); print('tailrace: it is broken', flush=True); sys.exit(1)",
         "the simulation of dpu: it is broken"),
        (PLUG + "time.sleep(1); sys.exit(1)", "the simulation of dpu ended: --once"),
    ],
)  # fmt: skip
def test_a_simulation_that_dies(session, plug, words):
    outcome = session("forever()", plug=plug).run()
    assert outcome.problem.startswith(words)


def test_a_simulation_that_takes_its_guest_along(session, tmp_path):
    """QEMU ends when its device goes; what went first is told first, whoever is seen first."""
    gone = tmp_path / "gone"
    plug = f"""
import os, time
while not os.path.exists({str(gone)!r}):
    time.sleep(0.01)
print("tailrace: it is broken", flush=True)
sys.exit(1)
"""
    outcome = session(
        f"open({str(gone)!r}, 'w').close(); os.kill(os.getpid(), 9)", plug=PLUG + plug
    ).run()
    first, _, second = outcome.problem.partition("; then ")
    assert first == "the simulation of dpu: it is broken"
    assert second.startswith("the QEMU of the guest ended with signal 9")


def test_a_simulation_that_fails_at_its_end(session):
    """Its summary is part of the result."""
    plug = PLUG.replace("sys.exit(0)", "print('tailrace: no summary', flush=True); sys.exit(1)")
    outcome = session(OK, plug=plug + "signal.pause()\n").run()
    assert outcome.statuses == {"a": 0}
    assert outcome.problem == "the simulation of dpu: no summary"


@pytest.mark.parametrize(
    ("plug", "words"),
    [
        ("print('tailrace: socket in use'); sys.exit(1)", "the simulation of dpu: socket in use"),
        ("sys.exit(3)", "the simulation of dpu ended: no reason given"),
    ],
)
def test_a_simulation_that_does_not_start(session, plug, words):
    with pytest.raises(UserError, match=words):
        session(OK, plug=plug).run()


def test_time_out(session):
    outcome = session("forever()", time_out=1.5).run()
    assert outcome.problem == "the guest had not ended after 1.5 s"
    assert next(iter(outcome.summaries.values()))[-1] == "the last line"


@pytest.fixture
def hearing():
    """A shell that has put us into the background has made us deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt(session, number):
    made = session("tell('exit 0 a'); forever()")
    timer = threading.Timer(2, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        made.run()
    timer.join()
    assert made.outcome.statuses == {"a": 0}
    assert next(iter(made.outcome.summaries.values()))[-1] == "the last line"


def test_nothing_outlives_us(tmp_path):
    """A process that is killed takes its children with it."""
    pid = tmp_path / "pid"
    code = (
        "import sys, time; from pathlib import Path; from tailrace_sim.linux.children import spawn;"
        f"Path({str(pid)!r}).write_text(str(spawn(['sleep', '1000']).pid)); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + PATIENCE
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    child = Path("/proc") / pid.read_text() / "stat"
    parent.kill()
    parent.wait()
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.05)
