"""One virtio-net function: transport, engines, data paths and control queue, composed."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tailrace_hw.config import VirtioNetConfig
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.packet import PacketSignature
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.chain_split import ChainSplit
from tailrace_hw.virtio.control import ControlQueue
from tailrace_hw.virtio.engine import VirtqueueEngine
from tailrace_hw.virtio.fault import FunctionErrors
from tailrace_hw.virtio.net_counters import ADDRESS_WIDTH as COUNTERS_WIDTH
from tailrace_hw.virtio.net_counters import NetCounters
from tailrace_hw.virtio.net_rx import NetReceive
from tailrace_hw.virtio.net_tx import NetTransmit
from tailrace_hw.virtio.net_types import RxMeta
from tailrace_hw.virtio.transport import ADDRESS_WIDTH, VirtioTransport

__all__ = ["READERS", "WRITERS", "VirtioNet", "vectors"]

#: DMA clients of a function, in the order of its port arrays.
READERS = (
    "rx_ring", "rx_chain", "rx_event", "tx_ring", "tx_chain", "tx_event", "tx_data", "control",
)  # fmt: skip
WRITERS = ("rx_data", "rx_used", "rx_event", "tx_used", "tx_event", "control")
#: How long a used element waits for others of its line while there are frames under way: as long
#: as three more frames of 1500 bytes take at the link's rate.
COALESCE_CYCLES = 96
#: How long it waits after the last one when there are none: the receive path knows its frames from
#: the end of their reception on, so that there is nothing to wait for.
RX_IDLE_CYCLES = 0


def vectors(config: VirtioNetConfig) -> int:
    """MSI-X vectors of the function: one a queue, and one for configuration changes."""
    return 2 * config.queue_pairs + 2


class VirtioNet(wiring.Component):
    """A virtio-net device (virtio 1.2, 5.1) behind one PCIe function.

    No logic of its own but the joining: see :class:`VirtioTransport` for what the driver reads and
    writes, :class:`VirtqueueEngine` for the rings, :class:`NetReceive` and :class:`NetTransmit` for
    frames, :class:`ControlQueue` for commands.

    Parameters
    ----------
    config : :class:`VirtioNetConfig`
    width : datapath width in bits

    Members
    -------
    bus : In(CsrSignature(14)), BAR 0
    counters : In(CsrSignature), registers of ``net_regs.rdl``
    function : In(8), number of the PCIe function
    flr, flr_done : In(1), Out(1), see :class:`VirtioTransport`
    link_up : In(1)
    receive : In(PacketSignature(width, RxMeta)), from the wire
    transmit : Out(PacketSignature(width)), to the wire
    reads : Out(DmaReadPort(width)) for each of ``READERS``
    writes : Out(DmaWritePort(width)) for each of ``WRITERS``
    interrupt : Out(stream of InterruptRequest)
    errors : Out(stream of ErrorEvent)
    """

    def __init__(self, config: VirtioNetConfig, width: int):
        self.config = config
        self._width = width
        super().__init__(
            {
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "counters": In(CsrSignature(COUNTERS_WIDTH)),
                "function": In(8),
                "flr": In(1),
                "flr_done": Out(1),
                "link_up": In(1),
                "receive": In(PacketSignature(width, RxMeta)),
                "transmit": Out(PacketSignature(width)),
                "reads": Out(DmaReadPort(width)).array(len(READERS)),
                "writes": Out(DmaWritePort(width)).array(len(WRITERS)),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "errors": Out(stream.Signature(ErrorEvent)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, width = self.config, self._width
        pairs = config.queue_pairs
        m.submodules.transport = self._transport = VirtioTransport(
            pairs, max_size=config.max_queue_size, vectors=vectors(config)
        )
        engine_options = {
            "cache_depth": config.prefetch,
            "max_queue_size": config.max_queue_size,
            "coalesce_cycles": COALESCE_CYCLES,
        }
        m.submodules.rx_engine = self._rx_engine = VirtqueueEngine(
            pairs, width, idle_cycles=RX_IDLE_CYCLES, **engine_options
        )
        m.submodules.tx_engine = self._tx_engine = VirtqueueEngine(
            pairs + 1, width, **engine_options
        )
        m.submodules.split = self._split = ChainSplit(pairs)
        m.submodules.control = self._control = ControlQueue(width, pairs)
        m.submodules.net_receive = self._receive = NetReceive(
            pairs, width, depth=config.receive_buffer
        )
        m.submodules.net_transmit = self._transmit = NetTransmit(
            pairs, width, max_frame=config.max_frame
        )
        m.submodules.registers = self._registers = NetCounters()
        self._connect_frames(m)
        self._connect_registers(m)
        self._connect_engines(m)
        self._connect_levels(m)
        self._connect_dma(m)
        self._connect_errors(m)
        return m

    def _connect_frames(self, m):
        connect(m, flipped(self.receive), self._receive.frames)
        connect(m, self._transmit.frames, flipped(self.transmit))
        connect(m, self._receive.chains, self._rx_engine.chains)
        connect(m, self._split.engine, self._tx_engine.chains)
        connect(m, self._transmit.chains, self._split.transmit)
        connect(m, self._control.chains, self._split.control)

    def _connect_registers(self, m):
        transport = self._transport
        connect(m, flipped(self.bus), transport.bus)
        connect(m, flipped(self.counters), self._registers.bus)
        connect(m, self._receive.counters, self._registers.receive)
        connect(m, self._transmit.counters, self._registers.transmit)
        connect(m, transport.interrupt, flipped(self.interrupt))
        m.d.comb += [
            transport.flr.eq(self.flr),
            self.flr_done.eq(transport.flr_done),
            transport.mac.eq(int.from_bytes(self.config.mac_bytes(), "little")),
            transport.mtu.eq(self.config.mtu),
            transport.link_up.eq(self.link_up),
            transport.withheld.eq(self._registers.withheld),
        ]

    def _connect_engines(self, m):
        transport = self._transport
        for side, engine in (("rx", self._rx_engine), ("tx", self._tx_engine)):
            connect(m, getattr(transport, f"{side}_command"), engine.command)
            connect(m, getattr(transport, f"{side}_notify"), engine.notify)
            connect(m, engine.ack, getattr(transport, f"{side}_ack"))
            m.d.comb += engine.halt.eq(transport.halt)
        connect(m, self._rx_engine.interrupt, transport.requests[0])
        connect(m, self._tx_engine.interrupt, transport.requests[1])

    def _connect_levels(self, m):
        """Negotiated features, resets, the function's number, what is under way."""
        transport, features = self._transport, self._transport.features
        stopped = ~transport.driver_ok | transport.halt
        m.d.comb += [
            self._rx_engine.expected.eq(self._receive.working),
            self._tx_engine.expected.eq(self._transmit.working),
            self._receive.mrg_rxbuf.eq(features.mrg_rxbuf),
            self._receive.guest_csum.eq(features.guest_csum),
            self._receive.active_pairs.eq(self._control.active_pairs),
            self._receive.flush.eq(stopped),
            self._transmit.csum.eq(features.csum),
            self._transmit.flush.eq(stopped),
            self._control.multiqueue.eq(features.mq),
            self._control.clear.eq(transport.clear),
            self._control.queue.eq(Mux(features.mq, 2 * self.config.queue_pairs, 2)),
        ]
        parts = (
            transport, self._rx_engine, self._tx_engine, self._receive, self._transmit,
            self._control,
        )  # fmt: skip
        m.d.comb += [part.function.eq(self.function) for part in parts]

    def _connect_dma(self, m):
        rx, tx = self._rx_engine, self._tx_engine
        reads = {
            "rx_ring": rx.ring, "rx_chain": rx.chain, "rx_event": rx.used_event,
            "tx_ring": tx.ring, "tx_chain": tx.chain, "tx_event": tx.used_event,
            "tx_data": self._transmit.dma, "control": self._control.read,
        }  # fmt: skip
        writes = {
            "rx_data": self._receive.dma, "rx_used": rx.used, "rx_event": rx.avail_event,
            "tx_used": tx.used, "tx_event": tx.avail_event, "control": self._control.write,
        }  # fmt: skip
        for name, port in zip(READERS, self.reads, strict=True):
            connect(m, reads[name], flipped(port))
        for name, port in zip(WRITERS, self.writes, strict=True):
            connect(m, writes[name], flipped(port))

    def _connect_errors(self, m):
        m.submodules.errors = errors = FunctionErrors(self.config.queue_pairs)
        connect(m, self._rx_engine.errors, errors.receive[0])
        connect(m, self._receive.errors, errors.receive[1])
        connect(m, self._tx_engine.errors, errors.transmit[0])
        connect(m, self._transmit.errors, errors.transmit[1])
        connect(m, self._transport.errors, errors.other[0])
        connect(m, self._control.errors, errors.other[1])
        connect(m, errors.o, flipped(self.errors))
        m.d.comb += [
            errors.control_queue.eq(self._control.queue),
            self._transport.fault.eq(errors.fault | self._control.fault),
        ]
