"""The UltraScale+ integrated block for PCI Express as the gateware sees it (PG213)."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.lib.axis import AxisSignature
from tailrace_hw.pcie.function import FunctionState

__all__ = [
    "CC_USER",
    "CQ_USER",
    "RC_USER",
    "RQ_USER",
    "SEQ_NUM_WIDTH",
    "UspConfigExtendSignature",
    "UspConfigSignature",
    "UspSignature",
    "UspStatus",
]

#: ``tuser`` bits of each interface, by width.
RQ_USER = {256: 62, 512: 137}
RC_USER = {256: 75, 512: 161}
CQ_USER = {256: 88, 512: 183}
CC_USER = {256: 33, 512: 81}
SEQ_NUM_WIDTH = 6


class UspConfigExtendSignature(wiring.Signature):
    """Configuration extend interface, as the user design drives it.

    Each configuration access is reported by a one-cycle pulse of ``read_received`` or
    ``write_received``, whatever its address. Accesses to registers that the block leaves to the
    user wait for ``read_data_valid``.
    """

    def __init__(self):
        super().__init__(
            {
                "read_received": In(1),
                "write_received": In(1),
                "register_number": In(10),
                "function_number": In(8),
                "write_data": In(32),
                "write_byte_enable": In(4),
                "read_data": Out(32),
                "read_data_valid": Out(1),
            }
        )


class UspConfigSignature(wiring.Signature):
    """The ports of the integrated block beside its TLP interfaces, as the user design drives them.

    Names are those of PG213; ``cfg_ext_x`` is ``cfg_ext.x``.
    """

    def __init__(self):
        super().__init__(
            {
                # Requester: a sequence number comes back when its request has left.
                "pcie_rq_seq_num0": In(SEQ_NUM_WIDTH),
                "pcie_rq_seq_num_vld0": In(1),
                "pcie_rq_seq_num1": In(SEQ_NUM_WIDTH),
                "pcie_rq_seq_num_vld1": In(1),
                # Completer: one more non-posted request may be delivered a cycle.
                "pcie_cq_np_req": Out(2),
                "user_lnk_up": In(1),
                "cfg_max_payload": In(2),
                "cfg_max_read_req": In(3),
                "cfg_function_status": In(16),
                "cfg_local_error_out": In(5),
                "cfg_local_error_valid": In(1),
                "cfg_interrupt_msix_enable": In(4),
                "cfg_interrupt_msix_mask": In(4),
                "cfg_flr_in_process": In(4),
                "cfg_flr_done": Out(4),
                "cfg_config_space_enable": Out(1),
                "cfg_power_state_change_interrupt": In(1),
                "cfg_power_state_change_ack": Out(1),
                "cfg_err_cor_in": Out(1),
                "cfg_err_uncor_in": Out(1),
                "cfg_ext": Out(UspConfigExtendSignature()),
            }
        )


class UspSignature(wiring.Signature):
    """The ports of the integrated block that the gateware uses, as the user design drives them.

    The four TLP interfaces ``rq``, ``rc``, ``cq``, ``cc`` as AXI4-Stream bundles (``rq__tdata`` in
    Verilog), and the members of :class:`UspConfigSignature` (``cfg_ext__read_data``).

    Parameters
    ----------
    width : :class:`int`
        Bits of the TLP interfaces, 256 or 512.
    """

    def __init__(self, width: int):
        if width not in RQ_USER:
            raise ValueError("the PCIe interface is 256 or 512 bits wide")
        self.width = width
        keep = width // 32
        super().__init__(
            {
                "rq": Out(AxisSignature(width, user=RQ_USER[width], keep=keep)),
                "rc": In(AxisSignature(width, user=RC_USER[width], keep=keep)),
                "cq": In(AxisSignature(width, user=CQ_USER[width], keep=keep)),
                "cc": Out(AxisSignature(width, user=CC_USER[width], keep=keep)),
                **dict(UspConfigSignature().members),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, UspSignature) and self.width == other.width


class UspStatus(wiring.Component):
    """Turns the block's status vectors into one :class:`FunctionState` a function.

    Everything is registered once. A function counts as in reset while the link is down, while
    the block says that its function level reset is in process, and while ``hold`` is set.

    Parameters
    ----------
    functions : :class:`int`
        Physical functions, 1 to 4.

    Members
    -------
    max_payload, max_read, function_status, msix_enable, msix_mask, flr_in_process, lnk_up : inputs
        From the block, see :class:`UspSignature`.
    hold : In(functions)
        From the FLR sequencer: keeps a function in reset until its blocks are clean.
    state : Out(FunctionState) of each function
    """

    def __init__(self, functions: int):
        if not 1 <= functions <= 4:
            raise ValueError("the integrated block has 1 to 4 physical functions")
        self.functions = functions
        super().__init__(
            {
                "max_payload": In(2),
                "max_read": In(3),
                "function_status": In(16),
                "msix_enable": In(4),
                "msix_mask": In(4),
                "flr_in_process": In(4),
                "lnk_up": In(1),
                "hold": In(functions),
                "state": Out(FunctionState).array(functions),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        for index, state in enumerate(self.state):
            # PG213: four bits a function, I/O, memory, bus master and INTx disable.
            status = self.function_status.word_select(index, 4)
            reset = Signal(name=f"reset{index}")
            m.d.comb += reset.eq(
                ~self.lnk_up | self.flr_in_process[index] | self.hold[index]
            )
            m.d.sync += [
                state.memory_enable.eq(status[1]),
                state.bus_master.eq(status[2] & ~reset),
                state.max_payload.eq(Cat(self.max_payload, 0)),
                state.max_read.eq(self.max_read),
                state.msix_enable.eq(self.msix_enable[index]),
                state.msix_mask.eq(self.msix_mask[index]),
                state.reset.eq(reset),
            ]
        return m
