"""Programs that say what the real ones would: small scripts in a folder of their own."""

import sys
from pathlib import Path

import pytest

from tailrace_sim.linux.images import Images
from tailrace_sim.linux.qemu import Qemu

#: Reads what it was booted with from its arguments; `tell` writes to the second serial port.
_QEMU = """#!{python}
import gzip, os, pathlib, sys, time
arguments = sys.argv[1:]
control = next(a.split("path=")[1] for a in arguments if a.startswith("file,id=control"))
initrd = pathlib.Path(arguments[arguments.index("-initrd") + 1]).read_bytes()
role = "peer" if b"ROLE=peer" in initrd else "host"
def say(text):
    print(text, flush=True)
def tell(text):
    with open(control, "a") as file:
        file.write(text + "\\n")
def forever():
    while True:
        time.sleep(1)
tell("boot")
{body}
"""
_PEER = """
if role == "peer":
    tell("ready eth0")
    forever()
"""


def write_program(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def program():
    """An executable file: ``program(path, text)``."""
    return write_program


@pytest.fixture
def fake_qemu(tmp_path):
    """Images whose QEMU does ``body`` for the guest with the device, ``peer`` for the other."""

    def make(body: str, *, peer: str = _PEER) -> Images:
        text = _QEMU.format(python=sys.executable, body=peer + body)
        path = write_program(tmp_path / "qemu-system-x86_64", text)
        for name in ("vmlinuz", "initramfs"):
            (tmp_path / name).write_bytes(b"")
        return Images(
            Qemu((str(path),)), "99.0", tmp_path / "vmlinuz", tmp_path / "initramfs", "6.1.0"
        )

    return make


@pytest.fixture
def fake_plug(tmp_path):
    """A command that does ``body`` where the simulation would be."""

    def make(body: str) -> tuple[str, ...]:
        text = f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n"
        return (str(write_program(tmp_path / "plug", text)),)

    return make
