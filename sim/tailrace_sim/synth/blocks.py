"""The blocks that are measured.

Most are parts of the device, taken out of it where they stand: with the parameters that they have
there, at the width that is asked for. The parts of ``lib`` are elaborated alone.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import data, wiring

from tailrace_hw.config import Config
from tailrace_hw.crypto.aad_hash import AadHash
from tailrace_hw.crypto.aes_lane import AesLane
from tailrace_hw.crypto.commit_fifo import CommitFifo
from tailrace_hw.crypto.gf_multiplier import GfMultiplier
from tailrace_hw.crypto.ghash import Ghash
from tailrace_hw.crypto.key_schedule import AesKeySchedule
from tailrace_hw.crypto.types import OutputMeta
from tailrace_hw.emit import NAME
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.axis_adapter import AxisToPacket, PacketToAxis
from tailrace_hw.lib.checksum import InternetChecksum
from tailrace_hw.lib.crc32 import Crc32
from tailrace_hw.lib.fifo import AsyncFifo, SyncFifo
from tailrace_hw.lib.packet import WIDTHS, NoMeta, beat_layout
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_hw.lib.stage import SkidStage
from tailrace_hw.lib.width import WidthConverter
from tailrace_sim.build import emit
from tailrace_sim.device import device_verilog
from tailrace_sim.synth.front import Design, flat, read_verilog
from tailrace_sim.synth.yosys import SynthError

__all__ = ["BLOCKS", "TOP", "Block", "names", "open_block"]

#: The whole device.
TOP = "top"


@dataclass(frozen=True)
class Block:
    """A block.

    Attributes
    ----------
    name : on the command line
    what : for people
    path : where it stands in the device, a module's path; empty for the device itself
    make : for a part that stands alone: makes it at a width
    """

    name: str
    what: str
    path: str | None = None
    make: Callable[[int], wiring.Component] | None = None


def _beats(width: int) -> data.StructLayout:
    return beat_layout(width, NoMeta)


def _widths(width: int) -> tuple[int, int]:
    """The narrow and the wide side of a converter."""
    return (width // 2, width) if width > min(WIDTHS) else (width, 2 * width)


_ALL = [
    Block("pcie", "everything between the PCIe block and the device", "pcie"),
    Block("dma_read", "DMA read engine, all clients", "pcie.read"),
    Block("dma_write", "DMA write engine, all clients", "pcie.write"),
    Block("requester", "request TLPs, straddled", "pcie.requester"),
    Block("rc_unpack", "completion TLPs, straddle undone", "pcie.read.unpack"),
    Block("completer", "BAR accesses of the host", "pcie.control.completer"),
    Block("msix", "MSI-X tables and messages of all functions", "pcie.control.msix"),
    Block("cfg_ext", "virtio capabilities in configuration space", "pcie.control.extend"),
    Block("virtio_net", "a virtio-net function", "net"),
    Block("engine", "virtqueue engine, transmit side and control", "net.tx_engine"),
    Block("fetch", "descriptor fetch of that engine", "net.tx_engine.fetch"),
    Block("used", "used writer of that engine", "net.tx_engine.used"),
    Block("transport", "virtio over PCI: registers, notifications, interrupts", "net.transport"),
    Block("control", "control queue", "net.control"),
    Block("net_rx", "frames to receive queues", "net.net_receive"),
    Block("net_tx", "frames from transmit queues", "net.net_transmit"),
    Block("mac_port", "a network port", "port"),
    Block("job_queues", "job queues of the look-aside engine", "jobs.queues"),
    Block("cipher", "AES-GCM and AES-XTS with keys and self-test", "jobs.cipher"),
    Block("errors", "error collector", "errors"),
    Block("csr_fabric", "register fabric of the management function", "fabric"),
    Block("skid_stage", "lib: a beat, both directions registered",
          make=lambda width: SkidStage(_beats(width))),
    Block("sync_fifo", "lib: 512 beats", make=lambda width: SyncFifo(_beats(width), 512)),
    Block("async_fifo", "lib: 64 beats between two clocks",
          make=lambda width: AsyncFifo(_beats(width), 64, i_domain="write", o_domain="read")),
    Block("packet_fifo", "lib: 512 beats", make=lambda width: PacketFifo(width, depth=512)),
    Block("packet_arbiter", "lib: 4 packet streams into one",
          make=lambda width: RoundRobinArbiter(_beats(width), 4, packets=True)),
    Block("event_arbiter", "lib: 4 error streams into one",
          make=lambda width: RoundRobinArbiter(ErrorEvent, 4)),
    Block("widen", "lib: from half the width; at 64 to 128",
          make=lambda width: WidthConverter(*_widths(width))),
    Block("narrow", "lib: to half the width; at 64 from 128",
          make=lambda width: WidthConverter(*reversed(_widths(width)))),
    Block("axis_to_packet", "lib: AXI4-Stream in", make=lambda width: AxisToPacket(width)),
    Block("packet_to_axis", "lib: AXI4-Stream out", make=lambda width: PacketToAxis(width)),
    Block("checksum", "lib: internet checksum", make=lambda width: InternetChecksum(width)),
    Block("crc32", "lib: Ethernet FCS", make=lambda width: Crc32(width)),
    Block("commit_fifo", "crypto: 512 beats",
          make=lambda width: CommitFifo(width, OutputMeta, 512)),
    Block("aes_lane", "AES, a block a cycle, one direction",
          make=lambda width: AesLane()),
    Block("aes_lane_xts", "AES, a block a cycle, both directions",
          make=lambda width: AesLane(inverse=True)),
    Block("aes_key_schedule", "AES key expansion, a round key a cycle, both directions",
          make=lambda width: AesKeySchedule()),
    Block("gf_multiplier", "GF(2^128), a product a cycle", make=lambda width: GfMultiplier()),
    Block("ghash", "GHASH, a beat a cycle", make=lambda width: Ghash(max(1, width // 128))),
    Block("aad_hash", "GHASH of additional data, a block a cycle", make=lambda width: AadHash()),
    Block(TOP, "the whole device", ""),
]  # fmt: skip
#: Every block by its name.
BLOCKS = {block.name: block for block in _ALL}


@functools.cache
def _device(config: Config) -> Design:
    """Read once, however many blocks are taken out of it."""
    return read_verilog(device_verilog(config), NAME)


def names() -> str:
    """The names, for a message."""
    return ", ".join(BLOCKS)


def open_block(block: Block, config: Config, *, flatten: bool) -> tuple[Design, str]:
    """The design that a block is in, and its module there.

    Raises
    ------
    SynthError
        Yosys failed, or the configuration has no such part.
    """
    if block.make is None:
        design = _device(config)
        module = f"\\{NAME}"
        for instance in block.path.split(".") if block.path else ():
            children = design.modules[module].children
            if f"\\{instance}" not in children:
                raise SynthError(f"a device of this configuration has no {block.name}")
            module = children[f"\\{instance}"]
    else:
        make, width = block.make, config.width
        name = f"{block.name}_{width}"
        design = read_verilog(emit(lambda: make(width), name, "synth"), name)
        module = f"\\{name}"
    return (flat(design, module) if flatten else design), module
