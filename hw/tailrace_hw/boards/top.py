"""The device on a board: between the vendor's blocks and the pins."""

from amaranth.hdl import ClockDomain, DomainRenamer, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from tailrace_hw.boards.blackbox import BlackBox, Port
from tailrace_hw.boards.board import Board
from tailrace_hw.boards.cmac_block import MAC_LANES, cmac_box
from tailrace_hw.boards.pcie_block import LANES, pcie_box, pcie_connections
from tailrace_hw.config import Config
from tailrace_hw.emit import NAME
from tailrace_hw.mac.pad import MacPad
from tailrace_hw.mac.start import MacStart
from tailrace_hw.pcie.usp import UspSignature
from tailrace_hw.top import signature

__all__ = ["DEVICE", "BoardTop", "device_box", "primitive_boxes"]

#: Instance of the device in the top.
DEVICE = "device"
#: Cycles of the start-up clock after configuration that the transceivers are held in reset.
_RESET_CYCLES = 1024


def device_box(config: Config) -> BlackBox:
    """The device's Verilog module. Ports of ``pcie`` and its clock belong to ``clk``, those of the
    MAC to ``port0_clk``; the link state is asynchronous."""
    ports = [
        Port("clk", "i"),
        Port("rst", "i", clock="clk"),
        Port("port0_clk", "i"),
        Port("port0_rst", "i", clock="port0_clk"),
    ]
    device = signature(config)
    for path, member, value in device.flatten(device.create()):
        name = "__".join(map(str, path))
        clock = "" if name == "port0__link" else "clk" if path[0] == "pcie" else "port0_clk"
        direction = "i" if member.flow == In else "o"
        ports.append(Port(name, direction, len(value), clock))
    return BlackBox(NAME, tuple(ports))


def primitive_boxes() -> tuple[BlackBox, ...]:
    """The primitives of the top (UG974)."""
    return (
        BlackBox("IBUF", (Port("I", "i"), Port("O", "o"))),
        BlackBox("IBUFDS", (Port("I", "i"), Port("IB", "i"), Port("O", "o"))),
        BlackBox(
            "BUFGCE_DIV",
            (Port("I", "i"), Port("CE", "i", idle=1), Port("CLR", "i"), Port("O", "o")),
            ("BUFGCE_DIVIDE",),
        ),
        BlackBox(
            "IBUFDS_GTE4",
            (Port("I", "i"), Port("IB", "i"), Port("CEB", "i"), Port("O", "o"), Port("ODIV2", "o")),
        ),
    )


def _differential(name: str, width: int = 1, flow=In) -> dict:
    return {f"{name}_p": flow(width), f"{name}_n": flow(width)}


class BoardTop(wiring.Component):
    """The device with the PCIe block, the 100G MAC, clocks and resets of a card.

    The device is an instance of the Verilog that ``./tailrace verilog`` writes for the same
    configuration, so that what is built is what is simulated.

    Clock domains: ``sync``, the PCIe block's user clock, 250 MHz; ``port0``, the MAC's transmit
    user clock, 322 MHz; ``init``, from the card's free-running clock, without reset. The core's
    reset is the PCIe block's. It resets ``port0`` too, which comes out of it when the MAC's clock
    is up; the device wants the two together.

    Parameters
    ----------
    board : :class:`Board`
    config : :class:`Config`
        Must fit the board, :meth:`Board.check`.

    Members
    -------
    pcie_refclk_p, _n, pcie_rx_p, _n, pcie_tx_p, _n, pcie_reset_n : the slot
    init_clk_p, _n : free-running clock
    qsfp0_refclk_p, _n, qsfp0_rx_p, _n, qsfp0_tx_p, _n : the port
    and the board's constants by name
    """

    def __init__(self, board: Board, config: Config):
        board.check(config)
        self.board = board
        self.config = config
        super().__init__(
            {
                **_differential("pcie_refclk"),
                **_differential("pcie_rx", LANES),
                **_differential("pcie_tx", LANES, Out),
                "pcie_reset_n": In(1),
                **_differential("init_clk"),
                **_differential("qsfp0_refclk"),
                **_differential("qsfp0_rx", MAC_LANES),
                **_differential("qsfp0_tx", MAC_LANES, Out),
                **{name: Out(1) for name, _, _ in board.constants},
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._primitives = {box.module: box for box in primitive_boxes()}
        self._sync, self._port0 = ClockDomain("sync"), ClockDomain("port0")
        self._init = ClockDomain("init", reset_less=True)
        m.domains += [self._sync, self._port0, self._init]
        usp = UspSignature(self.config.pcie_width).create()
        device = device_box(self.config)
        used = {"clk": self._sync.clk, "rst": self._sync.rst}
        used |= {"port0_clk": self._port0.clk, "port0_rst": self._port0.rst}
        for path, _, value in usp.signature.flatten(usp):
            used["__".join(("pcie", *map(str, path)))] = value
        self._pcie(m, usp)
        used |= self._mac(m)
        m.submodules[DEVICE] = device.instance(used)
        for name, level, _ in self.board.constants:
            m.d.comb += getattr(self, name).eq(level)
        return m

    def _primitive(self, module: str, **used) -> Instance:
        parameters = used.pop("parameters", None)
        return self._primitives[module].instance(used, parameters)

    def _pcie(self, m, usp):
        """Reference clock, PERST#, the block, and the core's reset."""
        reference, half, perst_n = Signal(), Signal(), Signal()
        user_reset = Signal()
        m.submodules.pcie_refclk = self._primitive(
            "IBUFDS_GTE4", I=self.pcie_refclk_p, IB=self.pcie_refclk_n, O=reference, ODIV2=half
        )
        m.submodules.pcie_reset = self._primitive("IBUF", I=self.pcie_reset_n, O=perst_n)
        m.submodules.pcie = pcie_box(self.board).instance(
            {
                **pcie_connections(m, usp),
                "pci_exp_rxp": self.pcie_rx_p,
                "pci_exp_rxn": self.pcie_rx_n,
                "pci_exp_txp": self.pcie_tx_p,
                "pci_exp_txn": self.pcie_tx_n,
                "sys_clk": half,
                "sys_clk_gt": reference,
                "sys_reset": perst_n,
                "user_clk": self._sync.clk,
                "user_reset": user_reset,
            }
        )
        # Two registers give the tool room to spread the reset over the chip.
        near = Signal(init=1, reset_less=True, name="user_reset_near")
        far = Signal(init=1, reset_less=True, name="user_reset_far")
        m.d.sync += [near.eq(user_reset), far.eq(near)]
        m.d.comb += self._sync.rst.eq(far)

    def _mac(self, m) -> dict[str, object]:
        """Start-up clock and reset, the block, and what belongs between it and the device."""
        free = Signal()
        m.submodules.init_buffer = self._primitive(
            "IBUFDS", I=self.init_clk_p, IB=self.init_clk_n, O=free
        )
        m.submodules.init_divider = self._primitive(
            "BUFGCE_DIV", I=free, O=self._init.clk,
            parameters={"BUFGCE_DIVIDE": self.board.free_divide},
        )  # fmt: skip
        left = Signal(range(_RESET_CYCLES), init=_RESET_CYCLES - 1)
        mac_reset = Signal(init=1)
        m.d.init += [left.eq(left - left.any()), mac_reset.eq(left.any())]

        tx_reset = Signal()
        m.submodules.port0_reset = ResetSynchronizer(
            self._sync.rst | tx_reset, domain="port0", stages=3
        )
        in_port0 = DomainRenamer("port0")
        start, pad = MacStart(), MacPad(self.config.width)
        m.submodules.mac_start = in_port0(start)
        m.submodules.mac_pad = in_port0(pad)
        rx = pad.i.signature.create(path=("rx",))
        tx, out = pad.i, pad.o
        m.submodules.mac = cmac_box().instance(
            {
                "gt_ref_clk_p": self.qsfp0_refclk_p,
                "gt_ref_clk_n": self.qsfp0_refclk_n,
                "gt_rxp_in": self.qsfp0_rx_p,
                "gt_rxn_in": self.qsfp0_rx_n,
                "gt_txp_out": self.qsfp0_tx_p,
                "gt_txn_out": self.qsfp0_tx_n,
                "init_clk": self._init.clk,
                "drp_clk": self._init.clk,
                "sys_reset": mac_reset,
                "gt_txusrclk2": self._port0.clk,
                "rx_clk": self._port0.clk,
                "usr_tx_reset": tx_reset,
                **{
                    f"rx_axis_{name}": getattr(rx, name)
                    for name in ("tvalid", "tdata", "tlast", "tkeep", "tuser")
                },
                **{
                    f"tx_axis_{name}": getattr(out, name)
                    for name in ("tvalid", "tdata", "tlast", "tkeep", "tuser", "tready")
                },
                "stat_rx_aligned": start.aligned,
                "stat_rx_remote_fault": start.remote_fault,
                "ctl_rx_enable": start.rx_enable,
                "ctl_tx_enable": start.tx_enable,
                "ctl_tx_send_rfi": start.send_rfi,
                "ctl_tx_send_idle": start.send_idle,
            }
        )
        return {
            "port0__link": start.tx_enable,
            **{f"port0__rx__{name}": getattr(rx, name) for name in rx.signature.members},
            **{f"port0__tx__{name}": getattr(tx, name) for name in tx.signature.members},
        }
