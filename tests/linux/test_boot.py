"""A stock kernel boots with the device in its slot, its own driver binds, and pings cross the wire.

Skipped, with the reason, where there is no QEMU for it and none can be fetched. Where
``TAILRACE_LINUX`` is set it fails instead: that is what CI does.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tailrace.cli.errors import UserError
from tailrace_sim.linux.images import prepare

ROOT = Path(__file__).resolve().parents[2]
#: Small, so that it is built in a minute and simulates fast.
CONFIG = "width = 64\n[virtio_net]\nqueue_pairs = 2\n[jobs]\nkeys = 0\n"
BOOT = [("packed", ["bind", "ping"])]
#: Minutes each; with --soak.
LONG = [
    (rings, scripts)
    for rings in ("packed", "split")
    for scripts in (
        ["bind", "lspci", "ping", "iperf", "queues", "mtu"],
        ["rebind", "reset", "nonsense", "reboot", "link"],
        ["count"],
    )
]


@pytest.fixture(scope="session")
def images():
    try:
        return prepare(Console(stderr=True))
    except UserError as error:
        if os.environ.get("TAILRACE_LINUX"):
            raise
        pytest.skip(str(error))


def linux(*arguments):
    """The command as a user calls it; what it printed, once it has passed."""
    result = subprocess.run(
        [sys.executable, "-m", "tailrace.cli.main", "linux", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, cwd=ROOT,
    )  # fmt: skip
    print(result.stdout)
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


def summary(text, name):
    """A row of the simulation's summary."""
    found = re.search(rf"^{name} +(.*)$", text, re.MULTILINE)
    assert found is not None, f"no {name} in the summary"
    return found[1].strip()


def passed(text, scripts):
    assert "FAIL" not in text
    for script in scripts:
        assert f"{script}: passed" in text
    assert summary(text, "errors") == "none"


@pytest.mark.parametrize(("rings", "scripts"), BOOT)
def test_boot_bind_ping(images, tmp_path, rings, scripts):
    config = tmp_path / "narrow.toml"
    config.write_text(CONFIG)
    runs = [f"--run={script}" for script in scripts]
    text = linux("--config", str(config), "--rings", rings, "--seed", "1", *runs)
    passed(text, scripts)
    # 15 pings and a flood of 400, each way, of which a busy wire may lose a few.
    assert int(summary(text, "wire, frames in").split()[0]) >= 395
    assert int(summary(text, "wire, frames out").split()[0]) >= 415


@pytest.mark.soak
@pytest.mark.parametrize(("rings", "scripts"), LONG, ids=lambda value: "-".join(value) if
                         isinstance(value, list) else value)  # fmt: skip
def test_long(images, rings, scripts):
    runs = [f"--run={script}" for script in scripts]
    text = linux("--rings", rings, "--cpus", "2", "--time-out", "7200", *runs)
    assert "FAIL" not in text
    for script in scripts:
        assert f"{script}: passed" in text


@pytest.mark.soak
@pytest.mark.parametrize("rings", ["packed", "split"])
def test_two_devices(images, rings):
    """Each with a Linux of its own, joined port to port."""
    text = linux("--peer", "dpu", "--rings", rings, "--run", "ping", "--run", "iperf")
    for script in ("ping", "iperf"):
        assert f"{script}: passed" in text
