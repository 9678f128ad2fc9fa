"""Functions of the guest's scripts, on this machine's shell with fake tools."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

import tailrace_sim.linux
from tailrace_sim.models.net_offload import receive_hash

LIB = Path(tailrace_sim.linux.__file__).with_name("guest") / "lib.sh"
SCRIPTS = sorted(LIB.parents[1].glob("scripts/*.sh"))
#: Sends all it was told to, and says that so many came back; the rest comes later.
PING = """#!/bin/sh
echo "$2 packets transmitted, $IN_TIME received"
echo "$IN_TIME" >>count
(sleep 0.5; echo "$LATE" >>count) >/dev/null &
"""


@pytest.mark.parametrize(("in_time", "late"), [(5, 0), (3, 2), (0, 5)])
def test_answers_that_ping_does_not_wait_for(tmp_path, in_time, late):
    """The kernel counts them, also those that come when ping has given up."""
    ping = tmp_path / "ping"
    ping.write_text(PING)
    ping.chmod(0o755)
    (tmp_path / "count").write_text("40\n")
    script = f"""
. {LIB}
answers() {{ awk '{{ sum += $1 }} END {{ print sum }}' count; }}
PEER=10.9.0.1
answered 5 -i 0.2
"""
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "IN_TIME": str(in_time),
             "LATE": str(late)},
    )  # fmt: skip
    assert done.stdout == "5\n"
    assert done.stderr == ""


def test_no_script_trusts_the_count_of_ping():
    """On a busy machine it is too small, with nothing lost."""
    assert SCRIPTS
    for path in SCRIPTS:
        for words in ("received.*", "bytes from"):
            assert words not in path.read_text(), f"{path.name} takes ping's own count"


@pytest.mark.parametrize("path", [LIB, *SCRIPTS], ids=lambda path: path.name)
def test_syntax(path):
    subprocess.run(["sh", "-n", path], check=True)


#: A device that says 131 to everything; the rest of the guest does what it should.
STUBS = """
SLOT=0000:01:00.1 PEER=10.9.0.1
register() { [ -n "$2" ] || echo 0x83; }
wait_for() { true; }
for name in setpci sleep management_lives interface_up peer_answers find_management; do
    eval "$name() { true; }"
done
answered() { echo 100; }
pass() { echo "PASS $*"; }
fail() { echo "FAIL $*"; }
check() { echo "PASS $1"; }
equal() { echo "PASS $1: $2"; }
counter() { echo 1; }
at_least() { echo "PASS $1: $2"; }
finish() { echo "1 of 1 checks passed"; }
"""


def test_each_line_of_nonsense_says_what_it_is(tmp_path):
    (tmp_path / "stubs").write_text(STUBS)
    (tmp_path / "sys/bus/pci/drivers/virtio-pci").mkdir(parents=True)
    text = next(path for path in SCRIPTS if path.stem == "nonsense").read_text()
    there = {"/tmp/complaints": "complaints", "/etc/tailrace/lib.sh": "stubs", "/sys/": "sys/"}
    for path, here in there.items():
        assert path in text
        text = text.replace(path, f"{tmp_path}/{here}")
    # The numbers of the guest's shell have 64 bits, as those of this one.
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "all ones everywhere: status 131" in lines
    assert not [line for line in lines if len(line.split()) < 3]


def flows(rng):
    """Queues, of four, that two iperf3 with eight streams and a control connection each meet.

    Linux steps from one connection's port to the next by 2 to 16 at random (since 5.18,
    net/ipv4/inet_hashtables.c).
    """
    met = set()
    for server in (5201, 5202):
        port = rng.randrange(32768, 60000)
        for _ in range(9):
            ip = IP(src="10.9.0.1", dst="10.9.0.2") / TCP(sport=server, dport=port)
            met.add((receive_hash(bytes(Ether() / ip)) >> 16) * 4 >> 16)
            port += 2 + 2 * rng.randrange(8)
    return met


def test_flows_of_one_run_may_miss_a_queue():
    """So the script tries up to ten times, which do not."""
    rng = random.Random(7)
    runs = [flows(rng) for _ in range(200)]
    assert 0 < sum(len(met) < 4 for met in runs) < 10
    assert all(len(set.union(*runs[k : k + 10])) == 4 for k in range(0, 200, 10))
    script = next(path for path in SCRIPTS if path.stem == "queues").read_text()
    assert "while [ $run -lt 10 ]" in script
    assert "-P 8" in script
