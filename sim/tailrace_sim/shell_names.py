"""What the prompt of ``./tailrace shell`` has at hand."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from scapy.layers.l2 import Ether

from tailrace.crypto.aead import AESGCM, AESXTS
from tailrace.crypto.cipher import Fault
from tailrace.crypto.tls import ContentType, RecordProtection
from tailrace.jobs.types import Job
from tailrace.regs.job_memory import JobOpcode, JobStatus
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import Frame, NetOptions, TxFrame
from tailrace_sim.bfm.mac_port import WireFrame
from tailrace_sim.system import System

__all__ = ["BANNER", "CLASSES", "names_of"]

#: What docs/driver.md uses in its examples.
CLASSES: dict[str, Any] = {
    "Job": Job, "JobOpcode": JobOpcode, "JobStatus": JobStatus, "AESGCM": AESGCM,
    "AESXTS": AESXTS, "Fault": Fault, "ContentType": ContentType,
    "RecordProtection": RecordProtection, "TxFrame": TxFrame, "NetOptions": NetOptions,
}  # fmt: skip

BANNER = """\
Tailrace, {identity.width} bits wide, {identity.queue_pairs} queue pairs, in a simulated PCIe slot.
  system, device, host, port, management   the device, its driver, the wire: docs/driver.md
  net                                      virtio-net, up: net.transmit, net.receive, TxFrame
  device.jobs(), device.cipher()           a job queue, and the cipher engine through one: Job,
                                           JobOpcode, AESGCM, AESXTS, RecordProtection, ...
  counters(), errors(), wait(cycles)       to be awaited; show(frames) not
Time passes only while something is awaited. Ctrl-C ends that, Ctrl-D the session. For example:
  await net.transmit([TxFrame(bytes(64))]); show(await port.receive())
  port.send(bytes(Ether()/ARP(pdst="10.0.0.2"))); show(await net.receive(timeout=10_000))
  cipher = await device.cipher(); gcm = await AESGCM.create(cipher, bytes(16))
  await gcm.encrypt(bytes(12), b"secret", None)"""


def _table(console: Console, rows: Iterable[tuple[str, Any]]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, str(value))
    console.print(table)


def show(frames: Any) -> None:
    """Print one frame or several, a line each: length and what is in them."""
    if isinstance(frames, bytes | Frame | WireFrame):
        frames = [frames]
    for frame in frames:
        data = frame if isinstance(frame, bytes) else frame.data
        print(f"{len(data):5} B  {Ether(data).summary()}")


def names_of(system: System, net: VirtioNet) -> dict[str, Any]:
    """Names by which the user finds things."""
    import scapy.layers.inet as inet
    import scapy.layers.l2 as l2

    console = Console()
    management = system.device.management

    async def counters() -> None:
        """Print the counters that are not 0."""
        found = await management.counters()
        _table(
            console,
            [
                (f"{block}.{name}", value)
                for block, values in found.items()
                for name, value in values.items()
                if value
            ],
        )

    async def errors() -> None:
        """Print the records of the error collector."""
        print("\n".join(map(str, await management.errors())) or "none")

    return {
        "__name__": "__main__",
        "system": system, "device": system.device, "host": system.host, "port": system.port,
        "management": management, "net": net, "wait": system.wait,
        "counters": counters, "errors": errors, "show": show,
        **CLASSES,
        "Ether": l2.Ether, "ARP": l2.ARP, "IP": inet.IP, "ICMP": inet.ICMP, "UDP": inet.UDP,
        "TCP": inet.TCP,
    }  # fmt: skip
