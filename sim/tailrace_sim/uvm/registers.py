"""Register layer of the management function: a pyuvm model made from the SystemRDL maps.

Accesses go through a sequencer, an adapter and a driver to the driver model's MMIO, as a driver's
do: the front door.
"""

from pyuvm import (
    uvm_access_e,
    uvm_agent,
    uvm_driver,
    uvm_endianness_e,
    uvm_reg,
    uvm_reg_adapter,
    uvm_reg_block,
    uvm_reg_bus_op,
    uvm_reg_field,
    uvm_sequence_item,
    uvm_sequencer,
    uvm_status_e,
)

from tailrace.device import Management
from tailrace_hw import regs
from tailrace_hw.address_map import MANAGEMENT_BLOCKS

__all__ = ["RegisterAccess", "RegisterAgent", "RegisterModel", "policy"]

#: Widest register in bytes; one bus operation of the model is one register.
_WIDEST = 8


class RegisterAccess(uvm_sequence_item):
    """A read or write of one register.

    Attributes
    ----------
    write : direction
    address : in BAR 0
    data : written, or read
    bits : 32 or 64
    """

    def __init__(self, *, write: bool, address: int, data: int, bits: int):
        super().__init__("register access")
        self.write = write
        self.address = address
        self.data = data
        self.bits = bits


class _Driver(uvm_driver):
    """Accesses through the driver model; 64-bit registers as two dwords, the low one first."""

    management: Management

    async def run_phase(self):
        while True:
            item = await self.seq_item_port.get_next_item()
            if item.write:
                for at in range(0, item.bits // 8, 4):
                    part = item.data >> 8 * at & 0xFFFF_FFFF
                    await self.management.write(item.address + at, part)
            elif item.bits == 64:
                item.data = await self.management.read64(item.address)
            else:
                item.data = await self.management.read(item.address)
            self.seq_item_port.item_done()


class _Adapter(uvm_reg_adapter):
    """Register operations of the model as :class:`RegisterAccess` es."""

    def reg2bus(self, rw: uvm_reg_bus_op) -> RegisterAccess:
        write = rw.kind == uvm_access_e.UVM_WRITE
        return RegisterAccess(write=write, address=rw.addr, data=rw.data, bits=rw.n_bits)

    def bus2reg(self, bus_item: RegisterAccess, rw: uvm_reg_bus_op) -> None:
        rw.data = bus_item.data
        rw.status = uvm_status_e.UVM_IS_OK


class RegisterAgent(uvm_agent):
    """Sequencer and driver on the management function.

    ``management`` must be set before the run phase.
    """

    def build_phase(self):
        super().build_phase()
        self.sequencer = uvm_sequencer.create("sequencer", self)
        self.driver = _Driver.create("driver", self)

    def connect_phase(self):
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)

    def attach(self, management: Management, model: "RegisterModel") -> None:
        """Make this agent the front door of a model."""
        self.driver.management = management
        model.map.set_sequencer(self.sequencer, _Adapter("adapter"))


def policy(field: regs.Field) -> str:
    """Access policy of a field in the words of IEEE 1800.2."""
    if field.write_one_clear:
        return "W1C"
    if field.write_clear:
        return "WC"
    if not field.sw_write:
        return "RO"
    return "RW" if field.sw_read else "WO"


class RegisterModel(uvm_reg_block):
    """Every register of the management function's BAR 0.

    ::

        model = RegisterModel()
        agent.attach(device.management, model)      # in an environment's connect phase
        status, value = await model["port0", "limits"].read()

    Arrays have a register an element: ``read_failed0`` and so on. Fields that the gateware moves
    are volatile: their mirror is not compared.

    Attributes
    ----------
    map : its address map
    descriptions : what the SystemRDL source says, by (block, register)
    """

    def __init__(self) -> None:
        super().__init__("management")
        self.map = self.create_map(
            "bar0", 0, _WIDEST, uvm_endianness_e.UVM_LITTLE_ENDIAN, byte_addressing=True
        )
        self.map.set_auto_predict(True)
        self.descriptions: dict[tuple[str, str], regs.Register] = {}
        self._by_name: dict[tuple[str, str], uvm_reg] = {}
        for block in MANAGEMENT_BLOCKS:
            for register in regs.load(block.source).registers:
                self._add(block.name, block.base, register)
        self.lock_model()
        self.reset()

    def _add(self, block: str, base: int, register: regs.Register) -> None:
        for index, address in enumerate(register.addresses):
            name = register.name if register.count is None else f"{register.name}{index}"
            made = uvm_reg(f"{block}.{name}", register.width)
            made.configure(self)
            for field in register.fields:
                volatile = field.hw_write or field.counter
                uvm_reg_field(field.name).configure(
                    made, field.width, field.low, policy(field), volatile, field.reset,
                    has_reset=True, is_rand=False, individually_accessible=False,
                )  # fmt: skip
            self.map.add_reg(made, base + address)
            self._by_name[block, name] = made
            self.descriptions[block, name] = register

    def __getitem__(self, key: tuple[str, str]) -> uvm_reg:
        return self._by_name[key]

    def names(self) -> list[tuple[str, str]]:
        """(block, register) of every register, in order of addresses."""
        return list(self._by_name)

    async def value(self, block: str, name: str) -> int:
        """Read a register of the device."""
        status, value = await self._by_name[block, name].read()
        assert status == uvm_status_e.UVM_IS_OK
        return value
