"""One guest: a QEMU with a kernel, an archive, and what is in its slots."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.linux.children import die_with_parent, spawn, stop
from tailrace_sim.linux.images import Images
from tailrace_sim.linux.initramfs import overlay
from tailrace_sim.linux.qemu import DEVICE

__all__ = ["Guest", "GuestOptions", "arguments", "check_memory", "dgram_nic", "dpu_slot"]

#: Milliseconds that the simulation may take for an access of the guest.
_TIMEOUT = 600_000
_LOG, _CONTROL, _INITRD = "console.log", "control", "initrd"


@dataclass(frozen=True)
class GuestOptions:
    """What a guest is like.

    Attributes
    ----------
    role : which of our scripts is its first: ``host`` or ``peer``
    devices : arguments of QEMU for what is in its slots
    variables : of the shell for its scripts
    scripts : text by name, run one after the other; none: it has a shell
    cpus, memory : number, and MiB
    console : the terminal is the guest's
    """

    role: str
    devices: Sequence[str]
    variables: dict[str, str]
    scripts: dict[str, str] = field(default_factory=dict)
    cpus: int = 1
    memory: int = 512
    console: bool = False


def dpu_slot(sockets: dict[int, Path]) -> list[str]:
    """A slot with the functions that are behind these sockets, by their numbers.

    The lowest number is function 0 of the slot: without one of that number a kernel looks no
    further.
    """
    slot = ["-device", "pcie-root-port,id=dpu,chassis=1,slot=1"]
    for function, number in enumerate(sorted(sockets)):
        device = {
            "driver": DEVICE,
            "bus": "dpu",
            "addr": f"0.{function}",
            "multifunction": len(sockets) > 1 and function == 0,
            "socket": {"type": "unix", "path": str(sockets[number])},
            "x-msg-timeout": _TIMEOUT,
        }
        slot += ["-device", json.dumps(device)]
    return slot


def dgram_nic(mine: Path, other: Path, mac: str, mtu: int) -> list[str]:
    """An ordinary virtio network device on a pair of datagram sockets."""
    net = (
        f"dgram,id=wire,local.type=unix,local.path={mine},"
        f"remote.type=unix,remote.path={other}"
    )
    # Each sum is made and verified by its kernel, not taken for right.
    plain = "csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off"
    nic = f"virtio-net-pci,netdev=wire,mac={mac},disable-legacy=on,host_mtu={mtu},{plain}"
    return ["-netdev", net, "-device", nic]


def arguments(images: Images, options: GuestOptions, directory: Path) -> list[str]:
    """How QEMU is called, with files in ``directory``."""
    memory = f"memory-backend-memfd,id=memory,size={options.memory}M,share=on"
    serial = "mon:stdio" if options.console else "stdio"
    return [
        *images.qemu.command,
        "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "q35,memory-backend=memory", "-object", memory, "-m", f"{options.memory}M",
        "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(options.cpus),
        "-serial", serial,
        "-chardev", f"file,id=control,path={directory / _CONTROL}",
        "-serial", "chardev:control",
        "-kernel", str(images.kernel), "-initrd", str(directory / _INITRD),
        "-append", "console=ttyS0 quiet panic=-1 net.ifnames=0",
        *options.devices,
    ]  # fmt: skip


class Guest:
    """A running guest.

    Parameters
    ----------
    name : for messages
    directory : that is the guest's own; the console's log is there
    show : called with each line of the console, from another thread

    Attributes
    ----------
    events : lines that the guest has told so far, see ``guest/init.sh``
    """

    def __init__(
        self,
        name: str,
        images: Images,
        options: GuestOptions,
        directory: Path,
        show: Callable[[str], None] | None = None,
    ):
        self.name = name
        self.log = directory / _LOG
        self.events: list[str] = []
        self._show = show
        self._control = directory / _CONTROL
        self._console = options.console
        directory.mkdir(parents=True, exist_ok=True)
        self._control.write_text("")
        variables = {"ROLE": options.role, "CPUS": str(options.cpus), **options.variables}
        with open(directory / _INITRD, "wb") as initrd:
            initrd.write(images.initramfs.read_bytes())
            initrd.write(overlay(variables, options.scripts))
        self._complaints = directory / "qemu.log"
        self._process = self._start(arguments(images, options, directory), images)
        self._reader: threading.Thread | None = None
        if not options.console:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def _start(self, command: list[str], images: Images) -> subprocess.Popen:
        environment = {**os.environ, **images.qemu.environment}
        with open(self._complaints, "w") as complaints:
            if self._console:
                # In our group: it has the terminal, on which Ctrl-C is a key like others.
                return subprocess.Popen(
                    command, env=environment, stderr=complaints, preexec_fn=die_with_parent
                )
            return spawn(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=complaints,
            )  # fmt: skip

    def _read(self) -> None:
        assert self._process.stdout is not None
        with open(self.log, "w") as log:
            for line in self._process.stdout:
                text = line.decode(errors="replace").rstrip("\r\n")
                log.write(text + "\n")
                log.flush()
                if self._show is not None:
                    self._show(text)

    def poll(self) -> list[str]:
        """What the guest has told since the last call."""
        text = self._control.read_text(errors="replace")
        # A line without its end is still on its way.
        lines = [line.strip() for line in text.split("\n")[:-1]]
        fresh = lines[len(self.events) :]
        self.events = lines
        return fresh

    @property
    def boots(self) -> int:
        """How often it has booted."""
        return self.events.count("boot")

    @property
    def running(self) -> bool:
        """Whether QEMU is there."""
        return self._process.poll() is None

    def complaint(self) -> str:
        """Why QEMU ended, in one line."""
        status = self._process.wait()
        text = self._complaints.read_text(errors="replace")
        lines = [line for line in text.splitlines() if line and "warning:" not in line]
        reason = lines[-1] if lines else "no reason given"
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"the QEMU of {self.name} ended with {how}: {reason}"

    def stop(self) -> None:
        """End QEMU, if it has not ended; may be called twice."""
        if self._console:
            # It resets the terminal itself.
            self._process.terminate()
            self._process.wait()
        else:
            stop(self._process, signal.SIGTERM)
        if self._reader is not None:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


def check_memory(memory: int) -> int:
    """A guest's memory in MiB.

    Raises
    ------
    UserError
        Debian's kernel and its archive do not fit, or it is more than this machine has.
    """
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    if not 192 <= memory <= whole:
        raise UserError(f"--memory must be 192 to {whole} MiB, not {memory}")
    return memory
