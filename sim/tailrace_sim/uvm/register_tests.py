"""Register tests for the quiet device: values after reset, and what a write may change.

They are the sequences that IEEE 1800.2 (annex D) calls hardware reset and bit bash, on every
register of the model; those that the gateware moves are held against what the test expects.
"""

from random import Random

from pyuvm import ConfigDB, uvm_env, uvm_reg, uvm_sequence, uvm_status_e, uvm_test

from tailrace.device import Management
from tailrace_sim.uvm.registers import RegisterAgent, RegisterModel

__all__ = ["AccessSequence", "RegisterTest", "ResetSequence"]

#: Moves on its own, so that no two reads agree.
_CLOCKS = frozenset([("identity", "cycles")])
_KEY = "registers"


class _RegisterSequence(uvm_sequence):
    """Collects what is wrong, so that one run tells all of it.

    Attributes
    ----------
    checked : registers looked at
    wrong : a sentence for each finding
    """

    def __init__(self, model: RegisterModel):
        super().__init__(type(self).__name__)
        self.model = model
        self.checked = 0
        self.wrong: list[str] = []

    def expect(self, key: tuple[str, str], what: str, value: int, wanted: int) -> None:
        if value != wanted:
            self.wrong.append(f"{'.'.join(key)} {what} is 0x{value:x}, not 0x{wanted:x}")

    async def read(self, register: uvm_reg) -> int:
        status, value = await register.read()
        assert status == uvm_status_e.UVM_IS_OK
        return value


class ResetSequence(_RegisterSequence):
    """Every register has its reset value; what the gateware shows is as ``shown`` says, else 0.

    Parameters
    ----------
    model : of the registers
    shown : values of registers that have none of their own, by (block, name)
    """

    def __init__(self, model: RegisterModel, shown: dict[tuple[str, str], int]):
        super().__init__(model)
        self._shown = shown

    async def body(self):
        for key in self.model.names():
            register = self.model[key]
            value = await self.read(register)
            self.checked += 1
            if key in _CLOCKS:
                if not value:
                    self.wrong.append(f"{'.'.join(key)} stands still")
                continue
            self.expect(key, "after reset", value, self._shown.get(key, register.get_reset()))


class AccessSequence(_RegisterSequence):
    """Writes patterns into every register, reads back, and puts the old value in again.

    The mirror says what must come back: read-only fields stay, read-write ones take the value,
    bits that are no field read 0, write-only ones read 0.
    """

    def __init__(self, model: RegisterModel, rng: Random):
        super().__init__(model)
        self._rng = rng

    async def body(self):
        for key in self.model.names():
            await self._bash(key, self.model[key])
            self.checked += 1

    async def _bash(self, key: tuple[str, str], register: uvm_reg) -> None:
        width = register.get_n_bits()
        before = await self.read(register)
        patterns = (0, (1 << width) - 1, self._rng.getrandbits(width), before ^ 0x5555_5555)
        for pattern in patterns:
            await register.write(pattern)
            value = await self.read(register)
            if key in _CLOCKS:
                if not before < value < before + (1 << 20):
                    self.wrong.append(f"{'.'.join(key)} took a write of 0x{pattern:x}")
                continue
            wanted = self._after(register, before, pattern)
            self.expect(key, f"after a write of 0x{pattern:x}", value, wanted)
        await register.write(before)

    @staticmethod
    def _after(register: uvm_reg, before: int, written: int) -> int:
        """What a read must show after a write."""
        wanted = 0
        for field in register.get_fields():
            mask = (1 << field.get_n_bits()) - 1 << field.get_lsb_pos()
            wanted |= {"RO": before, "RW": written, "WO": 0}[field.get_access()] & mask
        return wanted


class RegisterTest(uvm_test):
    """Both sequences; :class:`AssertionError` names every finding.

    ``configure`` hands the parameters down.
    """

    @staticmethod
    def configure(management: Management, model: RegisterModel, shown: dict, rng: Random) -> None:
        ConfigDB().set(None, "*", _KEY, (management, model, shown, rng))

    def build_phase(self):
        self.management, self.model, shown, rng = ConfigDB().get(self, "", _KEY)
        self.env = uvm_env.create("env", self)
        self.agent = RegisterAgent.create("agent", self.env)
        self.sequences = [ResetSequence(self.model, shown), AccessSequence(self.model, rng)]

    def connect_phase(self):
        self.agent.attach(self.management, self.model)

    async def run_phase(self):
        self.raise_objection()
        for sequence in self.sequences:
            await sequence.start()
        self.drop_objection()

    def check_phase(self):
        for sequence in self.sequences:
            assert sequence.checked == len(self.model.names()) > 0
            assert not sequence.wrong, "; ".join(sequence.wrong)
