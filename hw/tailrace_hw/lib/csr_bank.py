"""A bank of registers made from a SystemRDL description."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.regs import Field, Register, RegisterError, RegisterMap

__all__ = ["CsrBank"]


def _port(field: Field):
    """Port of one field as the bank sees it, or None where the gateware has no part in it."""
    if field.counter:
        return In(field.increment_width)
    if field.write_one_clear or (field.hw_write and not field.sw_write):
        return In(field.width)
    if field.hw_read:
        return Out(field.width, init=field.reset)
    return None


def _ports(register: Register) -> dict:
    ports = {field.name: _port(field) for field in register.fields}
    return {name: port for name, port in ports.items() if port is not None}


class CsrBank(wiring.Component):
    """Serves the registers of a map on a CSR bus.

    A request is answered two cycles after it was taken, and the next is taken when the answer has
    been. Addresses without a register (and ``external`` registers, which belong to the block)
    are answered with ``error``. A 64-bit register is read atomically: reading its low dword
    captures the high dword, which the next read of the high dword gives.

    Parameters
    ----------
    registers : :class:`~tailrace_hw.regs.RegisterMap`
    address_width : :class:`int`
        Of the bus; default: just what the map needs.

    Members
    -------
    bus : ``In(CsrSignature(address_width))``
    <register> : signature with a member a field, an array of them for a register array.
        ``Out`` for what software writes; ``In`` for what the gateware shows, for the bits that set
        a write-one-to-clear field, and for what a counter adds this cycle.
    """

    def __init__(self, registers: RegisterMap, *, address_width: int | None = None):
        self.map = registers
        width = max(ceil_log2(registers.size), 2) if address_width is None else address_width
        members: dict = {"bus": In(CsrSignature(width))}
        for register in registers.registers:
            ports = {} if register.external else _ports(register)
            if not register.external and (register.width not in (32, 64) or register.address % 4):
                raise RegisterError(f"{registers.name}.{register.name}: only 32 and 64 bits")
            if ports:
                member = Out(wiring.Signature(ports))
                members[register.name] = member if register.count is None else member.array(
                    register.count
                )
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        request = Signal.like(bus.request.payload)
        busy = Signal()
        answer_data = Signal(32)
        answer_error = Signal()
        answered = Signal()
        self._high = Signal(32)
        self._access = Signal()
        self._request = request

        m.d.comb += [
            bus.request.ready.eq(~busy),
            bus.response.valid.eq(answered),
            bus.response.payload.data.eq(answer_data),
            bus.response.payload.error.eq(answer_error),
            self._access.eq(busy & ~answered),
        ]
        with m.If(bus.request.valid & bus.request.ready):
            m.d.sync += [request.eq(bus.request.payload), busy.eq(1)]
        with m.If(answered & bus.response.ready):
            m.d.sync += [answered.eq(0), busy.eq(0)]
        with m.If(self._access):
            m.d.sync += [answered.eq(1), answer_data.eq(0), answer_error.eq(1)]
        with m.Switch(request.address[2:]):
            for register in self.map.registers:
                if not register.external:
                    for index, address in enumerate(register.addresses):
                        self._elaborate_register(
                            m, register, index, address // 4, answer_data, answer_error
                        )
        return m

    def _elaborate_register(self, m, register, index, word, answer_data, answer_error):
        """The words of one register, inside the switch over the request's word address."""
        value = Signal(register.width, name=f"{register.name}_{index}_value")
        ports = getattr(self, register.name, None)
        if ports is not None and register.count is not None:
            ports = ports[index]
        writes = []
        for offset in range(register.width // 32):
            write = Signal(4, name=f"{register.name}_{index}_write{offset}")
            writes.append(write)
            with m.Case(word + offset):
                with m.If(self._access):
                    m.d.sync += answer_error.eq(0)
                    with m.If(~self._request.write):
                        m.d.sync += answer_data.eq(self._high if offset else value[:32])
                        if register.width == 64 and not offset:
                            m.d.sync += self._high.eq(value[32:])
                    with m.Else():
                        m.d.comb += write.eq(self._request.strobe)
        for field in register.fields:
            state = self._field(m, field, ports, writes)
            if field.sw_read and not field.pulse:
                m.d.comb += value[field.low : field.low + field.width].eq(state)

    def _field(self, m, field, ports, writes):
        """State of one field and its side effects; returns what software reads."""
        port = getattr(ports, field.name) if _port(field) is not None else None
        if field.hw_write and not field.sw_write and not field.counter:
            return port
        if not field.sw_write and not field.counter:
            return field.reset
        state = Signal(field.width, init=field.reset, name=f"{field.name}_state")
        written, enable = self._written(field, writes)
        if field.pulse:
            m.d.sync += state.eq(written & enable)
        elif field.write_one_clear:
            m.d.sync += state.eq((state & ~(written & enable)) | port)
        elif field.counter:
            cleared = Cat(writes).any() if field.write_clear else 0
            m.d.sync += state.eq(Mux(cleared, 0, state) + port)
        else:
            m.d.sync += state.eq((state & ~enable) | (written & enable))
        if port is not None and field.hw_read and not field.write_one_clear:
            m.d.comb += port.eq(state)
        return state

    def _written(self, field, writes):
        """Written value and per-bit enable of a field, from the byte strobes."""
        word = field.low // 32
        if (field.low + field.width - 1) // 32 != word:
            if field.sw_write and not field.counter:
                raise RegisterError(f"field {field.name}: a written field may not cross a dword")
            return 0, 0
        low = field.low % 32
        enable = Cat(writes[word][(low + bit) // 8] for bit in range(field.width))
        return self._request.data[low : low + field.width], enable
