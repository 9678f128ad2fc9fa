"""Configuration registers that the hard block leaves to us: the virtio capabilities.

The capabilities themselves are constants. The access capability (virtio 1.2, 4.1.4.9) has a window
through which a driver without MMIO reaches the function's BAR.
"""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tailrace_hw.lib.csr import CsrSignature
from tailrace_hw.lib.fifo import SyncFifo
from tailrace_hw.pcie.capabilities import PCI_CFG_START, VirtioCapability, capability_image
from tailrace_hw.pcie.identity import CONTROL_BAR
from tailrace_hw.pcie.usp import UspConfigExtendSignature

__all__ = ["ConfigExtend", "VirtioConfig"]

_PCI_CFG_DWORD = PCI_CFG_START // 4
#: Accesses that wait while one through the window is under way.
_QUEUE_DEPTH = 4


class ConfigAccess(data.Struct):
    """One configuration access to a register of ours."""

    register: 6
    write: 1
    data: 32
    strobe: 4


class VirtioConfig(wiring.Component):
    """The virtio capabilities of one function.

    Registers outside the capabilities read as 0. In the access capability ``cap.bar``,
    ``cap.offset`` and ``cap.length`` are writable; an access to ``pci_cfg_data`` is performed on
    the BAR with ``cap.length`` bytes. A length other than 1, 2 or 4, an offset that is not a
    multiple of it, and a BAR other than BAR 0 are forbidden to the driver (4.1.4.9.2): reads give
    0 then, writes do nothing.

    Parameters
    ----------
    capabilities : sequence of :class:`VirtioCapability`
    bar_size : :class:`int`
        Bytes of BAR 0.

    Members
    -------
    access : In(stream of ConfigAccess)
        Taken one at a time.
    answer : Out(stream of 32 bits)
        Read data, one for each read. 1 cycle after the read, for ``pci_cfg_data`` after the access
        to the BAR.
    csr : Out(CsrSignature)
        Accesses to BAR 0.
    reset : In(1)
        Puts the access capability back to 0.
    """

    def __init__(self, capabilities: Sequence[VirtioCapability], bar_size: int):
        self._image = capability_image(capabilities)
        super().__init__(
            {
                "access": In(stream.Signature(ConfigAccess)),
                "answer": Out(stream.Signature(32)),
                "csr": Out(CsrSignature(exact_log2(bar_size))),
                "reset": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._bar = Signal(8)
        self._offset = Signal(32)
        self._length = Signal(32)
        access = self.access.payload
        current = Signal(ConfigAccess)
        with m.FSM(name="config"):
            with m.State("IDLE"):
                m.d.comb += self.access.ready.eq(1)
                m.d.sync += current.eq(access)
                with m.If(self.access.valid):
                    with m.If((access.register == _PCI_CFG_DWORD + 4) & self._allowed()):
                        m.next = "BAR"
                    with m.Elif(access.write):
                        self._store(m, access)
                    with m.Else():
                        m.d.sync += self.answer.payload.eq(self._constant(m, access.register))
                        m.next = "ANSWER"
            with m.State("BAR"):
                self._request(m, current)
            with m.State("WAIT"):
                self._response(m, current)
            with m.State("ANSWER"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.next = "IDLE"
        with m.If(self.reset):
            m.d.sync += [self._bar.eq(0), self._offset.eq(0), self._length.eq(0)]
        return m

    def _constant(self, m, register):
        """Value of a register that needs no access to the BAR."""
        value = Signal(32)
        with m.Switch(register):
            for number, constant in self._image.items():
                with m.Case(number):
                    m.d.comb += value.eq(constant)
            with m.Case(_PCI_CFG_DWORD + 1):
                m.d.comb += value.eq(self._bar)
            with m.Case(_PCI_CFG_DWORD + 2):
                m.d.comb += value.eq(self._offset)
            with m.Case(_PCI_CFG_DWORD + 3):
                m.d.comb += value.eq(self._length)
        return value

    def _store(self, m, access):
        for number, register in enumerate((self._bar, self._offset, self._length), 1):
            with m.If(access.register == _PCI_CFG_DWORD + number):
                for byte in range(len(register) // 8):
                    with m.If(access.strobe[byte]):
                        m.d.sync += register.word_select(byte, 8).eq(
                            access.data.word_select(byte, 8)
                        )

    def _allowed(self):
        """The window's length and alignment, and the BAR, are legal."""
        one, two, four = (self._length == size for size in (1, 2, 4))
        aligned = one | (two & ~self._offset[0]) | (four & ~self._offset[:2].any())
        return aligned & (self._bar == CONTROL_BAR)

    def _request(self, m, current):
        payload = self.csr.request.payload
        shift = self._offset[:2]
        lanes = Mux(self._length == 4, 0xF, Mux(self._length == 2, 3, 1))
        m.d.comb += [
            self.csr.request.valid.eq(1),
            payload.address.eq(Cat(C(0, 2), self._offset[2:])),
            payload.write.eq(current.write),
            payload.strobe.eq(lanes << shift),
            payload.data.eq(current.data << Cat(C(0, 3), shift)),
        ]
        with m.If(self.csr.request.ready):
            m.next = "WAIT"

    def _response(self, m, current):
        m.d.comb += self.csr.response.ready.eq(1)
        mask = Mux(self._length == 4, 0xFFFFFFFF, Mux(self._length == 2, 0xFFFF, 0xFF))
        shifted = self.csr.response.payload.data >> Cat(C(0, 3), self._offset[:2])
        with m.If(self.csr.response.valid):
            m.d.sync += self.answer.payload.eq(shifted & mask)
            with m.If(current.write):
                m.next = "IDLE"
            with m.Else():
                m.next = "ANSWER"


class ConfigExtend(wiring.Component):
    """The configuration extend interface of the hard block, served for every function.

    A read of a function with virtio capabilities is answered after 3 cycles, or once the BAR has
    answered; of another function with 0. The block gives no means to hold an access off: up to 4
    wait, more (the block sends no access before the last one's completion, so that it takes five
    writes to ``pci_cfg_data`` within one register access) would be lost.

    Parameters
    ----------
    capabilities : sequence, by function, of capabilities or None
    bar_sizes : sequence of :class:`int`
        Bytes of BAR 0, by function.

    Members
    -------
    cfg_ext : Out(UspConfigExtendSignature)
    reset : In(functions)
        Function in reset.
    csr : dictionary attribute, ``f*F*_csr : Out(CsrSignature)`` for each function that has
        capabilities
    """

    def __init__(
        self,
        capabilities: Sequence[Sequence[VirtioCapability] | None],
        bar_sizes: Sequence[int],
    ):
        self._capabilities = list(capabilities)
        self._bar_sizes = list(bar_sizes)
        ports = {
            f"f{index}_csr": Out(CsrSignature(exact_log2(bar_sizes[index])))
            for index, table in enumerate(capabilities)
            if table is not None
        }
        super().__init__(
            {
                "cfg_ext": Out(UspConfigExtendSignature()),
                "reset": In(len(self._capabilities)),
                **ports,
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.cfg_ext
        number = bus.register_number
        low = (number >= _PCI_CFG_DWORD) & (number < _PCI_CFG_DWORD + 5)
        high = (number >= 0xB0 // 4) & (number < 0x100 // 4)
        ours = Signal()
        received = Signal()
        unserved = Signal()
        m.d.comb += [
            ours.eq(low | high),
            received.eq((bus.read_received | bus.write_received) & ours),
        ]
        answers = []
        functions = []
        for index, table in enumerate(self._capabilities):
            if table is not None:
                mine = bus.function_number == index
                functions.append(mine)
                answers.append(self._function(m, index, table, received & mine))
        served = Cat(*functions).any() if functions else C(0, 1)
        m.d.comb += unserved.eq(bus.read_received & ours & ~served)
        m.d.sync += [bus.read_data_valid.eq(unserved), bus.read_data.eq(0)]
        for answer in answers:
            m.d.comb += answer.ready.eq(1)
            with m.If(answer.valid):
                m.d.sync += [bus.read_data_valid.eq(1), bus.read_data.eq(answer.payload)]
        return m

    def _function(self, m, index, table, received):
        bus = self.cfg_ext
        m.submodules[f"queue{index}"] = queue = SyncFifo(ConfigAccess, _QUEUE_DEPTH)
        config = VirtioConfig(table, self._bar_sizes[index])
        m.submodules[f"config{index}"] = config
        payload = queue.i.payload
        m.d.comb += [
            queue.i.valid.eq(received),
            payload.register.eq(bus.register_number),
            payload.write.eq(bus.write_received),
            payload.data.eq(bus.write_data),
            payload.strobe.eq(bus.write_byte_enable),
            config.reset.eq(self.reset[index]),
        ]
        wiring.connect(m, queue.o, config.access)
        wiring.connect(m, config.csr, wiring.flipped(getattr(self, f"f{index}_csr")))
        return config.answer
