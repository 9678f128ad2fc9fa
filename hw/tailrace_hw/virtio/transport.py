"""The virtio-pci modern transport of one network function."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs
from tailrace_hw.errors import ErrorEvent
from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.pcie.function import InterruptRequest
from tailrace_hw.virtio.interfaces import QueueCommand, QueueNotify
from tailrace_hw.virtio.spec import NET_FEATURES, RING_FEATURES, Feature, feature_mask
from tailrace_hw.virtio.transport_access import RegisterAccess, slot_of, word_of
from tailrace_hw.virtio.transport_features import FeatureNegotiation
from tailrace_hw.virtio.transport_interrupts import InterruptMap
from tailrace_hw.virtio.transport_notify import Doorbells
from tailrace_hw.virtio.transport_queues import QueueRegisters
from tailrace_hw.virtio.transport_status import StatusMachine

__all__ = ["ADDRESS_WIDTH", "MAX_PAIRS", "NetFeatures", "VirtioTransport"]

#: Bits of an address in BAR 0.
ADDRESS_WIDTH = 14
#: Most queue pairs: the notification structure in ``regs.rdl`` has room for as many.
MAX_PAIRS = 16

_NOTIFY = word_of("notify")
_STATUS = word_of("device_status")
_SIZE = word_of("queue_size")
_NUM_QUEUES = word_of("num_queues")


class NetFeatures(data.Struct):
    """What was negotiated, as levels for the data path; all 0 before FEATURES_OK."""

    csum: 1
    guest_csum: 1
    mrg_rxbuf: 1
    ctrl_vq: 1
    mq: 1


def _mapped_words() -> list[int]:
    """Words of BAR 0 in which there is a register, without the notifications."""
    registers = regs.load("virtio/regs.rdl").registers
    addresses = (a for r in registers if r.name != "notify" for a in r.addresses)
    return sorted({address // 4 for address in addresses})


class VirtioTransport(wiring.Component):
    """Device side of virtio over PCI, modern interface (virtio 1.2, 4.1), for virtio-net (5.1).

    Serves BAR 0 of the function as ``regs.rdl`` lays it out, with byte strobes. An access is
    answered 3 cycles after it was taken, one that enables a queue after 15; never later, whatever
    the engines do. Addresses without a register are answered with ``error``.

    A notification is on the engine's notify stream 3 cycles after its write was taken.
    Notifications of queues that are not enabled are dropped, those that come while one of the same
    queue waits are merged.

    Reset (status written 0, 2.4, or ``flr``): ``resetting`` rises and all negotiated levels fall,
    each queue of both engines that was enabled gets RESET, and when all have answered the
    registers take their values after reset (8 cycles a queue), ``clear`` pulses and the status
    reads 0. Until then writes are ignored. The engines must answer: a RESET without an answer
    leaves the function in reset, and no other function is concerned.

    Bad size or alignment of a queue: not enabled, an event on ``errors``, DEVICE_NEEDS_RESET.

    Parameters
    ----------
    pairs : :class:`int`
        Queue pairs, 1 to 16. MQ is offered from 2 on.
    max_size : :class:`int`
        Largest queue size: a power of two up to 32768 (2.7).
    vectors : :class:`int`
        MSI-X vectors of the function.
    features : sequence of :class:`Feature`, optional
        What is offered beside the transport's and the rings' own, if it is not withheld; default
        all of NET_FEATURES.

    Members
    -------
    bus : In(CsrSignature(14))
    function : In(8)
        Number of the PCIe function.
    flr, flr_done : In(1), Out(1)
        Function level reset: ``flr`` high until ``flr_done``, which stays high until it falls.
    fault : In(1)
        An engine met an error that needs a reset: one cycle or more.
    mac : In(48), mtu : In(16), link_up : In(1)
        Network configuration; the first byte of the address in bits 7:0. ``link_up`` may change at
        any time, the others may not.
    withheld : In(64)
        Feature bits not to be offered, from the next reset on: see :class:`FeatureNegotiation`.
    rx_command, tx_command : Out(stream of QueueCommand); rx_ack, tx_ack : In(stream of 8 bits)
        To the receive engine (queue i is receive queue i) and the transmit engine (queue i is
        transmit queue i, queue ``pairs`` the control queue). ``vector`` in the command is a token
        that the engine has to put into its interrupt requests.
    rx_notify, tx_notify : Out(stream of QueueNotify)
    requests : In(stream of InterruptRequest), array of 2
        Interrupt requests of the receive and the transmit engine, with the token as vector.
    interrupt : Out(stream of InterruptRequest)
        The same with the queue's MSI-X vector, and those for configuration changes; requests
        without a vector end here.
    errors : Out(stream of ErrorEvent)
    features : Out(NetFeatures)
    driver_ok : Out(1)
        Set by the driver, low from the start of a reset.
    halt : Out(1)
        DEVICE_NEEDS_RESET or FAILED: the engines have to stop.
    resetting : Out(1)
        A reset is under way: drop what comes, complete what was taken.
    clear : Out(1)
        Last cycle of a reset, when all queues are quiet: back to the state after reset.
    """

    def __init__(self, pairs: int, *, max_size: int = 256, vectors: int, features=NET_FEATURES):
        if not 1 <= pairs <= MAX_PAIRS:
            raise ValueError(f"pairs must be 1 to {MAX_PAIRS}, not {pairs}")
        if not 2 <= max_size <= 32768 or max_size & (max_size - 1):
            raise ValueError(f"max_size must be a power of two from 2 to 32768, not {max_size}")
        offered = {*RING_FEATURES, *features}
        if pairs == 1:
            offered.discard(Feature.MQ)
        if Feature.MQ in offered and Feature.CTRL_VQ not in offered:
            raise ValueError("MQ needs CTRL_VQ (virtio 1.2, 5.1.3.1)")
        self._pairs = pairs
        self._max_size = max_size
        self._vectors = vectors
        self._offered = feature_mask(offered)
        super().__init__(
            {
                "bus": In(CsrSignature(ADDRESS_WIDTH)),
                "function": In(8),
                "flr": In(1),
                "flr_done": Out(1),
                "fault": In(1),
                "mac": In(48),
                "mtu": In(16),
                "link_up": In(1),
                "withheld": In(64),
                "rx_command": Out(stream.Signature(QueueCommand)),
                "tx_command": Out(stream.Signature(QueueCommand)),
                "rx_ack": In(stream.Signature(8)),
                "tx_ack": In(stream.Signature(8)),
                "rx_notify": Out(stream.Signature(QueueNotify)),
                "tx_notify": Out(stream.Signature(QueueNotify)),
                "requests": In(stream.Signature(InterruptRequest)).array(2),
                "interrupt": Out(stream.Signature(InterruptRequest)),
                "errors": Out(stream.Signature(ErrorEvent)),
                "features": Out(NetFeatures),
                "driver_ok": Out(1),
                "halt": Out(1),
                "resetting": Out(1),
                "clear": Out(1),
            }
        )

    @property
    def offered(self) -> int:
        """Feature bits that the device offers if none is withheld."""
        return self._offered

    def elaborate(self, platform):
        m = Module()
        slots = 2 * self._pairs + 1
        m.submodules.negotiation = self._negotiation = FeatureNegotiation(self._offered)
        m.submodules.status = self._status = StatusMachine()
        m.submodules.queues = self._queues = QueueRegisters(self._pairs, self._max_size)
        m.submodules.interrupts = self._interrupts = InterruptMap(slots, self._vectors)
        #: What this component serves itself.
        self._own = RegisterAccess().create()
        self._select = Signal(16)
        self._generation = Signal(8)
        self._link = Signal()
        self._bus(m)
        self._own_registers(m)
        self._connect_status(m)
        self._connect_queues(m)
        self._connect_interrupts(m)
        self._doorbells(m)
        return m

    def _bus(self, m):
        """Take a request, let the memories look up, access, answer."""
        bus = self.bus
        request = Signal.like(bus.request.payload)
        access = RegisterAccess().create()
        parts = [
            self._own, self._negotiation.access, self._queues.access, self._interrupts.access
        ]  # fmt: skip
        for part in parts:
            m.d.comb += [
                part.address.eq(access.address),
                part.read.eq(access.read),
                part.write.eq(access.write),
                part.data.eq(access.data),
                part.strobe.eq(access.strobe),
            ]
        self._request = request
        self._lookup = Signal()
        word = request.address[2:]
        mapped = Signal()
        m.d.comb += [
            access.address.eq(request.address),
            access.data.eq(request.data),
            access.strobe.eq(request.strobe),
            access.value.eq(reduce(or_, (part.value for part in parts))),
        ]
        with m.Switch(word):
            with m.Case(*_mapped_words(), *range(_NOTIFY, _NOTIFY + 2 * self._pairs + 1)):
                m.d.comb += mapped.eq(1)
        response = bus.response.payload
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += bus.request.ready.eq(1)
                m.d.sync += request.eq(bus.request.payload)
                with m.If(bus.request.valid):
                    m.next = "Lookup"
            with m.State("Lookup"):
                m.d.comb += self._lookup.eq(1)
                m.next = "Access"
            with m.State("Access"):
                m.d.comb += [
                    access.read.eq(~request.write),
                    access.write.eq(request.write & ~self.resetting),
                ]
                m.d.sync += [
                    response.data.eq(Mux(request.write, 0, access.value)),
                    response.error.eq(~mapped),
                ]
                m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += bus.response.valid.eq(~self._queues.checking)
                with m.If(bus.response.valid & bus.response.ready):
                    m.next = "Idle"

    def _own_registers(self, m):
        """Registers of the transport itself, and the network configuration (5.1.4)."""
        own = self._own
        word = own.address[2:]
        slots = 2 * self._pairs + 1
        m.d.sync += self._link.eq(self.link_up)
        with m.If(self._link != self.link_up):
            m.d.sync += self._generation.eq(self._generation + 1)
        with m.Switch(word):
            with m.Case(_NUM_QUEUES):
                m.d.comb += own.value[16:].eq(slots)
            with m.Case(_STATUS):
                m.d.comb += own.value.eq(Cat(self._status.shown, self._generation, self._select))
            with m.Case(_SIZE):
                m.d.comb += own.value[16:].eq(
                    Mux(self._queues.exists, self._interrupts.vector, 0xFFFF)
                )
            with m.Case(word_of("mac")):
                m.d.comb += own.value.eq(self.mac[:32])
            with m.Case(word_of("net_status")):
                m.d.comb += own.value.eq(Cat(self.mac[32:], self._link))
            with m.Case(word_of("max_virtqueue_pairs")):
                m.d.comb += own.value.eq(Cat(Const(self._pairs, 16), self.mtu))
        # The queue selector shares its word with the device status.
        with m.If(own.write & (word == _STATUS)):
            for byte in range(2):
                with m.If(own.strobe[2 + byte]):
                    m.d.sync += self._select.word_select(byte, 8).eq(
                        own.data.word_select(2 + byte, 8)
                    )
        with m.If(self.clear):
            m.d.sync += self._select.eq(0)

    def _negotiated(self, feature: Feature):
        """The driver accepted it, and so did the device."""
        return self._negotiation.driver[feature] & self._status.features_ok

    def _connect_status(self, m):
        status, negotiation, own = self._status, self._negotiation, self._own
        m.d.comb += [
            negotiation.lock.eq(status.features_ok),
            negotiation.clear.eq(status.clear),
            negotiation.withheld.eq(self.withheld),
            status.acceptable.eq(negotiation.acceptable),
            status.write.eq(own.write & own.strobe[0] & (own.address[2:] == _STATUS)),
            status.value.eq(own.data[:8]),
            status.fault.eq(self.fault | self._queues.fault),
            status.flr.eq(self.flr),
            status.reset_done.eq(self._queues.reset_done),
            self.flr_done.eq(status.flr_done),
            self.driver_ok.eq(status.driver_ok),
            self.halt.eq(status.halt),
            self.resetting.eq(status.resetting),
            self.clear.eq(status.clear),
            self.features.csum.eq(self._negotiated(Feature.CSUM)),
            self.features.guest_csum.eq(self._negotiated(Feature.GUEST_CSUM)),
            self.features.mrg_rxbuf.eq(self._negotiated(Feature.MRG_RXBUF)),
            self.features.ctrl_vq.eq(self._negotiated(Feature.CTRL_VQ)),
            self.features.mq.eq(self._negotiated(Feature.MQ)),
        ]

    def _slot_of(self, index):
        """Before the features are negotiated, every queue that could be is there."""
        undecided = ~self._status.features_ok
        offers = self._negotiation.offered
        return slot_of(
            index,
            self._pairs,
            self.features.mq | (undecided & offers[Feature.MQ]),
            self.features.ctrl_vq | (undecided & offers[Feature.CTRL_VQ]),
        )

    def _connect_queues(self, m):
        queues = self._queues
        slot, exists = self._slot_of(self._select)
        m.d.comb += [
            queues.slot.eq(slot),
            queues.exists.eq(exists),
            queues.index.eq(self._select),
            queues.packed.eq(self._negotiated(Feature.RING_PACKED)),
            queues.ring_reset.eq(self._negotiated(Feature.RING_RESET)),
            queues.event_idx.eq(self._negotiated(Feature.EVENT_IDX)),
            queues.indirect.eq(self._negotiated(Feature.INDIRECT_DESC)),
            queues.features_ok.eq(self._status.features_ok),
            queues.driver_ok.eq(self._status.driver_ok),
            queues.reset.eq(self._status.resetting),
            queues.function.eq(self.function),
        ]
        for name in ("rx_command", "tx_command", "rx_ack", "tx_ack", "errors"):
            wiring.connect(m, getattr(queues, name), wiring.flipped(getattr(self, name)))

    def _connect_interrupts(self, m):
        interrupts, queues, own = self._interrupts, self._queues, self._own
        link_changed = Signal()
        m.d.sync += link_changed.eq(
            (self._link != self.link_up) & self._status.driver_ok & self._negotiated(Feature.STATUS)
        )
        m.d.comb += [
            interrupts.slot.eq(Mux(queues.sweep, queues.sweep_slot, queues.slot)),
            interrupts.vector_write.eq(
                own.write & (own.address[2:] == _SIZE) & (own.strobe[2:] == 0b11) & queues.exists
            ),
            interrupts.sweep.eq(queues.sweep),
            interrupts.clear.eq(self._status.clear),
            interrupts.function.eq(self.function),
            interrupts.changed.eq(link_changed | self._status.changed),
        ]
        for request, inner in zip(self.requests, interrupts.requests, strict=True):
            wiring.connect(m, wiring.flipped(request), inner)
        wiring.connect(m, interrupts.interrupt, wiring.flipped(self.interrupt))

    def _doorbells(self, m):
        """A write to the notification structure rings during the memories' look-up cycle."""
        pairs = self._pairs
        request = self._request
        m.submodules.rx_doorbells = rx = Doorbells(pairs)
        m.submodules.tx_doorbells = tx = Doorbells(pairs + 1)
        slot, exists = self._slot_of(request.address[2:8])
        rung = Signal()
        m.d.comb += rung.eq(
            self._lookup
            & request.write
            & request.strobe.any()
            & (request.address[8:] == _NOTIFY >> 6)
            & exists
        )
        ring = Signal(2 * pairs + 1)
        for index in range(2 * pairs + 1):
            m.d.comb += ring[index].eq(rung & (slot == index))
        for doorbells, notify, slots in (
            (rx, self.rx_notify, range(0, 2 * pairs, 2)),
            (tx, self.tx_notify, [*range(1, 2 * pairs, 2), 2 * pairs]),
        ):
            m.d.comb += [
                doorbells.ring.eq(Cat(ring[slot] for slot in slots)),
                doorbells.enabled.eq(Cat(self._queues.enabled[slot] for slot in slots)),
                doorbells.active.eq(Cat(self._queues.active[slot] for slot in slots)),
            ]
            wiring.connect(m, doorbells.notify, wiring.flipped(notify))
