"""Queue registers of the common configuration, and the commands to the engines."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.virtio.interfaces import QueueCommand, QueueOp
from tailrace_hw.virtio.transport_access import RegisterAccess, word_of

__all__ = ["QueueRegisters"]

#: A queue's words are kept in rows of 8 from this word of the common configuration on.
_FIRST = word_of("queue_size")
_SIZE, _DESC, _DRIVER, _DEVICE = (
    word_of(register) - _FIRST
    for register in ("queue_size", "queue_desc_low", "queue_driver_low", "queue_device_low")
)
_ENABLE = word_of("queue_enable")
_RESET = word_of("queue_reset")


class _Row(data.Struct):
    """A queue's registers, read word by word."""

    size: 16
    #: The vector's place in the common configuration, and the words between; not kept here.
    unused: 48
    desc: 64
    driver: 64
    device: 64


class _RowReader(wiring.Component):
    """Reads the 8 words of a queue into a register: 9 cycles from ``start`` to ``done``."""

    def __init__(self, slots: int):
        super().__init__(
            {
                "start": In(1),
                "slot": In(range(slots)),
                "done": Out(1),
                "row": Out(_Row),
                "address": Out(range(8 * slots)),
                "data": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = Signal(4)
        running = Signal()
        m.d.comb += self.address.eq(Cat(step[:3], self.slot))
        m.d.sync += self.done.eq(running & step[3])
        with m.If(self.start):
            m.d.sync += [step.eq(0), running.eq(1)]
        with m.Elif(running):
            m.d.sync += [
                step.eq(step + 1),
                self.row.as_value().eq(Cat(self.row.as_value()[32:], self.data)),
                running.eq(~step[3]),
            ]
        return m


class QueueRegisters(wiring.Component):
    """Registers of all queues (virtio 1.2, 4.1.4.3) in a memory, and what they make the engines do.

    Writing 1 to ``queue_enable`` checks the queue, which takes 10 cycles (``checking``): a size of
    0, above the maximum or, for a split ring, not a power of two, and a misaligned area (2.7, 2.8)
    leave the queue disabled, put an error on ``errors`` and pulse ``fault``. An enabled queue's
    size and addresses no longer change. The engine is sent ENABLE once ``driver_ok`` is set (the
    device may not consume buffers before, 2.1.2).

    ``queue_reset`` (2.6.1) sends the engine RESET, and reads 1 until the answer has come, then
    both it and ``queue_enable`` read 0; size and addresses keep their values. Device reset does
    the same with every enabled queue, then gives all registers their values after reset.

    Parameters
    ----------
    pairs : :class:`int`
        Queue pairs; there are 2 * pairs + 1 slots (see :func:`transport_access.slot_of`).
    max_size : :class:`int`
        Largest queue size, a power of two.

    Members
    -------
    access : In(RegisterAccess)
        Without the vectors, which are elsewhere.
    slot, exists : In
        The selected queue; steady from the cycle before the access.
    index : In(16)
        Its virtqueue index, for error events.
    packed, ring_reset : In(1)
        VIRTIO_F_RING_PACKED and VIRTIO_F_RING_RESET as negotiated.
    event_idx, indirect : In(1)
        As negotiated, handed on in commands.
    features_ok, driver_ok : In(1)
    reset : In(1), reset_done : Out(1)
        Device reset: ``reset`` stays high until the cycle of ``reset_done``. ``driver_ok`` is low
        meanwhile and no access writes.
    sweep : Out(1), sweep_slot : Out
        During reset: this slot's registers become what they are after reset.
    checking : Out(1)
        A queue is being checked: the access that started it is not over.
    fault : Out(1)
    errors : Out(stream of ErrorEvent)
    function : In(8)
    rx_command, tx_command : Out(stream of QueueCommand)
        ``vector`` is the slot (see :class:`InterruptMap`).
    rx_ack, tx_ack : In(stream of 8 bits)
        Always taken.
    enabled, active : Out(slots)
        Queues whose ``queue_enable`` reads 1 and that are not being reset; queues that the engine
        has enabled.
    """

    def __init__(self, pairs: int, max_size: int):
        self._pairs = pairs
        self._slots = 2 * pairs + 1
        self._max_size = 1 << exact_log2(max_size)
        slots = self._slots
        super().__init__(
            {
                "access": In(RegisterAccess()),
                "slot": In(range(slots)),
                "exists": In(1),
                "index": In(16),
                "packed": In(1),
                "ring_reset": In(1),
                "event_idx": In(1),
                "indirect": In(1),
                "features_ok": In(1),
                "driver_ok": In(1),
                "reset": In(1),
                "reset_done": Out(1),
                "sweep": Out(1),
                "sweep_slot": Out(range(slots)),
                "checking": Out(1),
                "fault": Out(1),
                "errors": Out(stream.Signature(ErrorEvent)),
                "function": In(8),
                "rx_command": Out(stream.Signature(QueueCommand)),
                "tx_command": Out(stream.Signature(QueueCommand)),
                "rx_ack": In(stream.Signature(8)),
                "tx_ack": In(stream.Signature(8)),
                "enabled": Out(slots),
                "active": Out(slots),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = self._words = memory.Memory(
            shape=32, depth=8 * self._slots, init=([self._max_size] + [0] * 7) * self._slots
        )
        #: ``queue_enable``, ``queue_reset``, and: a command is at the engine.
        self._on = Signal(self._slots)
        self._resetting = Signal(self._slots)
        self._busy = Signal(self._slots)
        self._set_on = Signal(self._slots)
        self._set_resetting = Signal(self._slots)
        self._sent = Signal(self._slots)
        self._sweep_address = Signal(range(8 * self._slots))
        self._reads(m)
        self._writes(m)
        self._check(m)
        self._commands(m)
        self._queue_states(m)
        return m

    def _bit(self, vector):
        """Bit of the selected queue."""
        return vector.bit_select(self.slot, 1)

    def _one_hot(self, slot, condition):
        return Cat(condition & (slot == index) for index in range(self._slots))

    def _reads(self, m):
        access = self.access
        word = access.address[2:]
        read = self._words.read_port()
        m.d.comb += [
            read.addr.eq(Cat((word - _FIRST)[:3], self.slot)),
            read.en.eq(1),
        ]
        with m.If(self.exists):
            with m.If(word == _ENABLE):
                m.d.comb += [
                    access.value[0].eq(self._bit(self._on)),
                    access.value[16:].eq(self.index),
                ]
            with m.Elif(word == _RESET):
                m.d.comb += access.value[16].eq(self._bit(self._resetting))
            with m.Elif(word == _FIRST):
                m.d.comb += access.value[:16].eq(read.data)
            with m.Elif((word > _ENABLE) & (word < _RESET)):
                m.d.comb += access.value.eq(read.data)

    def _writes(self, m):
        """Register writes; during reset the memory is swept instead."""
        access = self.access
        word = access.address[2:]
        port = self._words.write_port(granularity=8)
        kept = (word >= _FIRST) & (word < _RESET) & (word != _ENABLE)
        write = access.write & self.exists
        with m.If(self.sweep):
            m.d.comb += [
                port.addr.eq(self._sweep_address),
                port.data.eq(Mux(self._sweep_address[:3] == _SIZE, self._max_size, 0)),
                port.en.eq(0b1111),
            ]
        with m.Else():
            m.d.comb += [
                port.addr.eq(Cat((word - _FIRST)[:3], self.slot)),
                port.data.eq(access.data),
                port.en.eq(Mux(write & kept & ~self._bit(self._on), access.strobe, 0)),
            ]
        self._start_check = Signal()
        with m.If(write & (word == _ENABLE)):
            m.d.comb += self._start_check.eq(
                access.strobe[0] & access.data[0] & self.features_ok & ~self._bit(self._on)
            )
        with m.If(write & (word == _RESET)):
            m.d.comb += self._set_resetting.eq(
                self._one_hot(
                    self.slot,
                    access.strobe[2] & access.data[16] & self.ring_reset & self._bit(self._on),
                )
            )

    def _check(self, m):
        """Read what was configured and look at it; the selected queue stays selected."""
        m.submodules.checker = reader = _RowReader(self._slots)
        port = self._words.read_port()
        event = self.errors.payload
        size = reader.row.size
        checked = Signal()
        bad_size = Signal()
        wrong_desc = Signal()
        wrong_driver = Signal()
        wrong_device = Signal()
        m.d.comb += [
            reader.start.eq(self._start_check),
            reader.slot.eq(self.slot),
            port.addr.eq(reader.address),
            port.en.eq(1),
            reader.data.eq(port.data),
            bad_size.eq(
                (size == 0) | (size > self._max_size) | (~self.packed & ((size & (size - 1)) != 0))
            ),
            wrong_desc.eq(reader.row.desc[:4].any()),
            wrong_driver.eq(reader.row.driver[0] | (self.packed & reader.row.driver[1])),
            wrong_device.eq(reader.row.device[:2].any()),
        ]
        with m.If(self._start_check):
            m.d.sync += self.checking.eq(1)
        with m.If(reader.done):
            m.d.sync += checked.eq(1)
        with m.If(self.errors.ready):
            m.d.sync += self.errors.valid.eq(0)
        with m.If(checked & (~self.errors.valid | self.errors.ready)):
            m.d.sync += [checked.eq(0), self.checking.eq(0)]
            with m.If(bad_size | wrong_desc | wrong_driver | wrong_device):
                m.d.comb += self.fault.eq(1)
                m.d.sync += [
                    self.errors.valid.eq(1),
                    event.source.eq(ErrorSource.VIRTIO_TRANSPORT),
                    event.function.eq(self.function),
                    event.queue.eq(self.index),
                ]
            with m.Else():
                m.d.comb += self._set_on.eq(self._one_hot(self.slot, 1))
            with m.If(bad_size):
                m.d.sync += [event.code.eq(ErrorCode.QUEUE_BAD_SIZE), event.info.eq(size)]
            with m.Elif(wrong_desc | wrong_driver | wrong_device):
                m.d.sync += [
                    event.code.eq(ErrorCode.QUEUE_BAD_ADDRESS),
                    event.info.eq(
                        Mux(
                            wrong_desc,
                            reader.row.desc,
                            Mux(wrong_driver, reader.row.driver, reader.row.device),
                        )
                    ),
                ]

    def _commands(self, m):
        """Send a command for one queue after the other, and sweep at the end of a reset."""
        m.submodules.loader = reader = _RowReader(self._slots)
        port = self._words.read_port()
        slot = Signal(range(self._slots))
        command = Signal(QueueCommand)
        enable = Signal(self._slots)
        disable = Signal(self._slots)
        wanted = Signal(self._slots)
        row = reader.row
        m.d.comb += [
            reader.slot.eq(slot),
            port.addr.eq(reader.address),
            port.en.eq(1),
            reader.data.eq(port.data),
            enable.eq(
                self._on & ~self._resetting & ~self.active & ~self._busy & self._all(self.driver_ok)
            ),
            disable.eq(self._resetting & self.active & ~self._busy),
            wanted.eq(enable | disable),
            command.queue.eq(Mux(slot == 2 * self._pairs, self._pairs, slot >> 1)),
            command.size.eq(row.size),
            command.desc.eq(row.desc),
            command.driver.eq(row.driver),
            command.device.eq(row.device),
            command.vector.eq(slot),
            command.packed_ring.eq(self.packed),
            command.event_idx.eq(self.event_idx),
            command.indirect.eq(self.indirect),
            self.rx_command.payload.eq(command),
            self.tx_command.payload.eq(command),
            self.sweep_slot.eq(self._sweep_address[3:]),
        ]
        to_rx = ~slot[0] & (slot != 2 * self._pairs)
        with m.FSM():
            with m.State("Idle"):
                for index in reversed(range(self._slots)):
                    with m.If(wanted[index]):
                        m.d.sync += slot.eq(index)
                m.d.sync += command.op.eq(QueueOp.ENABLE)
                with m.If(wanted.any()):
                    m.next = "Choose"
                with m.Elif(self.reset & ~self.checking & ~(self._on | self._busy).any()):
                    m.d.sync += self._sweep_address.eq(0)
                    m.next = "Sweep"
            with m.State("Choose"):
                m.d.comb += self._sent.eq(self._one_hot(slot, 1))
                with m.If(disable.bit_select(slot, 1)):
                    m.d.sync += command.op.eq(QueueOp.RESET)
                    m.next = "Send"
                with m.Elif(enable.bit_select(slot, 1)):
                    m.d.comb += reader.start.eq(1)
                    m.next = "Load"
                with m.Else():
                    # A reset came in between: nothing was sent yet, so nothing is to be undone.
                    m.d.comb += self._sent.eq(0)
                    m.next = "Idle"
            with m.State("Load"):
                with m.If(reader.done):
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += [self.rx_command.valid.eq(to_rx), self.tx_command.valid.eq(~to_rx)]
                with m.If(Mux(to_rx, self.rx_command.ready, self.tx_command.ready)):
                    m.next = "Idle"
            with m.State("Sweep"):
                m.d.comb += self.sweep.eq(1)
                m.d.sync += self._sweep_address.eq(self._sweep_address + 1)
                with m.If(self._sweep_address == 8 * self._slots - 1):
                    m.d.comb += self.reset_done.eq(1)
                    m.next = "Idle"

    def _all(self, condition):
        return condition.replicate(self._slots)

    def _queue_states(self, m):
        """A queue's way: on, command sent (busy), active; resetting, command sent, off."""
        answered = Signal(self._slots)
        over = Signal(self._slots)
        m.d.comb += [self.rx_ack.ready.eq(1), self.tx_ack.ready.eq(1)]
        for pair in range(self._pairs):
            m.d.comb += [
                answered[2 * pair].eq(self.rx_ack.valid & (self.rx_ack.payload == pair)),
                answered[2 * pair + 1].eq(self.tx_ack.valid & (self.tx_ack.payload == pair)),
            ]
        m.d.comb += [
            answered[-1].eq(self.tx_ack.valid & (self.tx_ack.payload == self._pairs)),
            over.eq(self._resetting & ~self.active & ~self._busy),
            self.enabled.eq(self._on & ~self._resetting),
        ]
        m.d.sync += [
            self._busy.eq((self._busy | self._sent) & ~answered),
            # The only command that an active queue can have been sent is RESET.
            self.active.eq(self.active ^ (answered & self._busy)),
            self._on.eq((self._on & ~over) | self._set_on),
            self._resetting.eq(
                (self._resetting | self._set_resetting | (self._on & self._all(self.reset))) & ~over
            ),
        ]
