"""The device: blocks composed from a configuration, no logic of its own."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tailrace_hw.address_map import MANAGEMENT_BAR, MANAGEMENT_BLOCKS
from tailrace_hw.config import Config
from tailrace_hw.jobs.look_aside import READERS as JOB_READERS
from tailrace_hw.jobs.look_aside import WRITERS as JOB_WRITERS
from tailrace_hw.jobs.look_aside import LookAside
from tailrace_hw.lib.arbiter import RoundRobinArbiter
from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.lib.csr_fabric import CsrFabric, CsrRange
from tailrace_hw.mac.port import MacPort
from tailrace_hw.mgmt.error_collector import ErrorCollector
from tailrace_hw.mgmt.identity import Identity
from tailrace_hw.pcie.capabilities import virtio_net_capabilities
from tailrace_hw.pcie.control import PcieFunction
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.pcie.identity import FunctionIdentity, management, virtio_net
from tailrace_hw.pcie.subsystem import PcieSubsystem
from tailrace_hw.pcie.usp import UspSignature
from tailrace_hw.virtio.device import READERS, WRITERS, VirtioNet, vectors

__all__ = ["MANAGEMENT_FUNCTION", "NET_FUNCTION", "Tailrace", "identities", "signature"]

#: PCIe function numbers.
MANAGEMENT_FUNCTION = 0
NET_FUNCTION = 1


def identities(config: Config) -> list[FunctionIdentity]:
    """The device's PCIe functions by number, as a hard block has to be configured for it."""
    return [management(), virtio_net(vectors(config.virtio_net))]


def signature(config: Config) -> wiring.Signature:
    """The device's ports."""
    axis = AxisSignature(config.width, user=1)
    port = wiring.Signature({"rx": In(axis), "tx": Out(axis), "link": In(1)})
    return wiring.Signature({"pcie": Out(UspSignature(config.pcie_width)), "port0": Out(port)})


class Tailrace(wiring.Component):
    """The data processing unit.

    Clock domains: ``sync`` (``clk``, ``rst``) is the PCIe block's user clock and reset;
    ``port0`` (``port0_clk``, ``port0_rst``) the MAC's clock, with a reset that comes only together
    with the core's.

    Parameters
    ----------
    config : :class:`Config`

    Members
    -------
    pcie : Out(UspSignature), the UltraScale+ integrated block (PG213)
    port0 : the MAC: ``rx`` In and ``tx`` Out(AxisSignature(width, user=1)), ``link`` In(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(signature(config))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        functions = identities(config)
        capabilities = virtio_net_capabilities(2 * config.virtio_net.queue_pairs + 1)
        m.submodules.pcie = self._pcie = PcieSubsystem(
            [
                PcieFunction(functions[MANAGEMENT_FUNCTION]),
                PcieFunction(functions[NET_FUNCTION], capabilities),
            ],
            width=config.width,
            pcie_width=config.pcie_width,
            reads=len(READERS) + len(JOB_READERS),
            writes=len(WRITERS) + len(JOB_WRITERS),
            tags=config.pcie.read_tags,
            timeout=config.pcie.completion_timeout,
        )
        m.submodules.net = self._net = VirtioNet(config.virtio_net, config.width)
        m.submodules.jobs = self._jobs = LookAside(config.jobs, config.width, len(functions))
        m.submodules.port = self._port = MacPort(
            config.width,
            domain="port0",
            min_length=config.port.min_length,
            max_length=config.port.max_length,
        )
        m.submodules.identity = self._identity = Identity(
            configuration_hash=int(config.hash()[:8], 16),
            width=config.width,
            ports=config.port.count,
            functions=len(functions),
            queue_pairs=config.virtio_net.queue_pairs,
            clock_hz=config.clock_hz,
        )
        m.submodules.errors = self._errors = ErrorCollector(4)
        self._connect_pcie(m)
        self._connect_port(m)
        self._connect_registers(m)
        self._connect_reports(m)
        return m

    def _connect_pcie(self, m):
        pcie, net, jobs = self._pcie, self._net, self._jobs
        connect(m, pcie.pcie, flipped(self.pcie))
        for client, port in zip((*net.reads, *jobs.reads), pcie.reads, strict=True):
            connect(m, client, port)
        for client, port in zip((*net.writes, *jobs.writes), pcie.writes, strict=True):
            connect(m, client, port)
        connect(m, getattr(pcie, f"f{NET_FUNCTION}_bar0"), net.bus)
        m.d.comb += [net.function.eq(NET_FUNCTION), net.flr.eq(pcie.flr[NET_FUNCTION].request)]
        # Every function may have job queues. Nothing else that is the management function's DMAs:
        # its MSI-X table is reset by the PCIe block, and its registers are shared with nobody.
        for function, (asked, queues) in enumerate(zip(pcie.flr, jobs.flr, strict=True)):
            others = net.flr_done if function == NET_FUNCTION else 1
            m.d.comb += [queues.request.eq(asked.request), asked.done.eq(queues.done & others)]

    def _connect_port(self, m):
        port, net = self._port, self._net
        connect(m, flipped(self.port0.rx), port.rx)
        connect(m, port.tx, flipped(self.port0.tx))
        connect(m, net.transmit, port.i)
        beat, status = net.receive, port.o
        m.d.comb += [
            port.link.eq(self.port0.link),
            net.link_up.eq(port.link_up),
            beat.valid.eq(status.valid),
            status.ready.eq(beat.ready),
            beat.payload.data.eq(status.payload.data),
            beat.payload.last.eq(status.payload.last),
            beat.payload.empty.eq(status.payload.empty),
            beat.payload.meta.drop.eq(status.payload.meta.drop),
        ]

    def _connect_registers(self, m):
        """The management function's BAR 0."""
        buses = {
            "identity": self._identity.bus,
            "errors": self._errors.bus,
            "pcie": self._pcie.registers,
            "port0": self._port.bus,
            "virtio_net0": self._net.counters,
            "jobs": self._jobs.bus,
            "crypto": self._jobs.cipher_bus,
        }
        m.submodules.fabric = fabric = CsrFabric(
            exact_log2(MANAGEMENT_BAR.size),
            {
                block.name: CsrRange(block.base, buses[block.name].signature.address_width)
                for block in MANAGEMENT_BLOCKS
            },
        )
        connect(m, getattr(self._pcie, f"f{MANAGEMENT_FUNCTION}_bar0"), fabric.initiator)
        for name, bus in buses.items():
            connect(m, getattr(fabric, name), bus)

    def _connect_reports(self, m):
        """Errors to the collector, interrupt requests to MSI-X."""
        m.submodules.interrupts = interrupts = RoundRobinArbiter(InterruptRequest, 3)
        connect(m, self._net.interrupt, interrupts.i[0])
        connect(m, self._errors.interrupt, interrupts.i[1])
        connect(m, self._jobs.interrupt, interrupts.i[2])
        connect(m, interrupts.o, self._pcie.interrupt)
        for source, port in zip(
            (self._pcie, self._net, self._port, self._jobs), self._errors.events, strict=True
        ):
            connect(m, source.errors, port)
        m.d.comb += self._errors.cycle.eq(self._identity.cycle)
