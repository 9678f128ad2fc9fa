"""How QEMU is called, and what a guest says."""

import itertools
import json
import time
from pathlib import Path

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.linux.guest import (
    Guest,
    GuestOptions,
    arguments,
    check_memory,
    dgram_nic,
    dpu_slot,
)

PATIENCE = 60
HOST = GuestOptions("host", ["-device", "x"], {}, {"a": "true"}, cpus=2, memory=300)


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("functions", "slots", "multi"),
    [((0, 1), ["0.0", "0.1"], [True, False]), ((1,), ["0.0"], [False]), ((0,), ["0.0"], [False])],
)
def test_a_slot(functions, slots, multi):
    port, *devices = [part for part in dpu_slot({n: Path(f"/s{n}") for n in functions})
                      if part != "-device"]  # fmt: skip
    assert port.startswith("pcie-root-port,id=dpu,")
    found = [json.loads(device) for device in devices]
    assert [device["addr"] for device in found] == slots
    assert [device["multifunction"] for device in found] == multi
    assert [device["socket"]["path"] for device in found] == [f"/s{n}" for n in functions]
    for device in found:
        assert (device["driver"], device["bus"]) == ("vfio-user-pci", "dpu")
        assert device["x-msg-timeout"] >= 60_000, "a simulation on a busy machine takes its time"


def test_an_ordinary_nic():
    given = dgram_nic(Path("/a"), Path("/b"), "02:00:00:00:00:01", 9000)
    assert given[:3] == [
        "-netdev",
        "dgram,id=wire,local.type=unix,local.path=/a,remote.type=unix,remote.path=/b",
        "-device",
    ]
    name, *settings = given[3].split(",")
    assert name == "virtio-net-pci"
    # Its kernel has to look at each checksum itself.
    wanted = {"mac=02:00:00:00:00:01", "host_mtu=9000", "csum=off", "guest_csum=off"}
    assert wanted <= set(settings)


def test_arguments(fake_qemu, tmp_path):
    images = fake_qemu("")
    given = arguments(images, HOST, tmp_path)
    assert given[0] == images.qemu.command[0]
    pairs = dict(itertools.pairwise(given))
    assert pairs["-m"] == "300M"
    assert pairs["-smp"] == "2"
    # The device reads and writes the guest's memory: it must be one that can be shared.
    assert pairs["-object"] == "memory-backend-memfd,id=memory,size=300M,share=on"
    assert pairs["-machine"] == "q35,memory-backend=memory"
    assert pairs["-accel"] == "tcg,thread=multi"
    assert given[-2:] == ["-device", "x"]
    assert given[given.index("-serial") + 1] == "stdio"
    console = arguments(images, GuestOptions("host", [], {}, console=True), tmp_path)
    assert console[console.index("-serial") + 1] == "mon:stdio"


@pytest.mark.parametrize("memory", [0, 100, 1 << 30])
def test_memory_that_no_guest_can_have(memory):
    with pytest.raises(UserError, match=f"--memory must be 192 to .* MiB, not {memory}"):
        check_memory(memory)
    assert check_memory(512) == 512


def test_what_a_guest_says(fake_qemu, tmp_path):
    shown = []
    images = fake_qemu("""
say("first \\xff line")
tell("start a"); tell("exit 3 a"); tell("end")
with open(control, "a") as file:
    file.write("half a li")
forever()
""")
    guest = Guest("the guest", images, HOST, tmp_path / "g", shown.append)
    try:
        seen = []
        until(lambda: seen.extend(guest.poll()) or "end" in seen)
        assert seen == ["boot", "start a", "exit 3 a", "end"]
        assert guest.poll() == []
        assert (guest.boots, guest.running) == (1, True)
        until(lambda: shown)
        assert shown == ["first \xff line"]
    finally:
        guest.stop()
        guest.stop()
    assert not guest.running
    assert guest.log.read_text() == "first \xff line\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('qemu: no such device')", "exit status 1: qemu: no such device"),
        ("sys.stderr.write('x: warning: y\\n'); sys.exit(2)", "exit status 2: no reason given"),
        ("os.kill(os.getpid(), 9)", "signal 9: no reason given"),
    ],
)
def test_a_qemu_that_dies(fake_qemu, tmp_path, body, words):
    guest = Guest("the guest", fake_qemu(body), HOST, tmp_path / "g")
    try:
        until(lambda: not guest.running)
        assert guest.complaint() == f"the QEMU of the guest ended with {words}"
    finally:
        guest.stop()


def test_one_that_does_not_want_to_end(fake_qemu, tmp_path, monkeypatch):
    monkeypatch.setattr("tailrace_sim.linux.children.PATIENCE", 1)
    body = "import signal; signal.signal(signal.SIGTERM, lambda *_: None); tell('deaf'); forever()"
    guest = Guest("the guest", fake_qemu(body), HOST, tmp_path / "g")
    until(lambda: "deaf" in guest.poll())
    guest.stop()
    assert guest.complaint() == "the QEMU of the guest ended with signal 9: no reason given"
