"""The 100G MAC of an UltraScale+ device as its IP wraps it (PG203).

As with PCIe the primitive (CMACE4) needs transceivers and their reset logic, which the IP
``cmac_usplus`` brings. Its AXI4-Stream has byte 0 in bits 7:0, as ours; the receive side has no
``tready``, and the transmit side takes no gap inside a frame. ``rx_clk`` is an input: with the
transmit clock on it, the IP's own receive buffer crosses over from the recovered clock, and both
streams and all status belong to ``gt_txusrclk2``.
"""

from tailrace_hw.boards.blackbox import BlackBox, ports
from tailrace_hw.boards.board import Board
from tailrace_hw.config import Config

__all__ = ["MAC_LANES", "cmac_box", "cmac_properties"]

MAC_LANES = 4
#: A MAC counts the FCS, our limits don't.
_FCS = 4

_MODULE = "cmac_usplus_0"

_CLOCKS_AND_PADS = f"""
o gt_txusrclk2 1
i rx_clk 1
i gt_ref_clk_p 1
i gt_ref_clk_n 1
i init_clk 1
i drp_clk 1
i sys_reset 1
i gt_rxp_in {MAC_LANES}
i gt_rxn_in {MAC_LANES}
o gt_txp_out {MAC_LANES}
o gt_txn_out {MAC_LANES}
i gt_loopback_in {3 * MAC_LANES}
i gtwiz_reset_tx_datapath 1
i gtwiz_reset_rx_datapath 1
i core_rx_reset 1
i core_tx_reset 1
i core_drp_reset 1
i drp_addr 10
i drp_di 16
i drp_en 1
i drp_we 1
"""

_USER_PORTS = """
o usr_tx_reset 1
o rx_axis_tvalid 1
o rx_axis_tdata 512
o rx_axis_tlast 1
o rx_axis_tkeep 64
o rx_axis_tuser 1
o tx_axis_tready 1
i tx_axis_tvalid 1
i tx_axis_tdata 512
i tx_axis_tlast 1
i tx_axis_tkeep 64
i tx_axis_tuser 1
i tx_preamblein 56
o stat_rx_aligned 1
o stat_rx_remote_fault 1
i ctl_rx_enable 1
i ctl_rx_force_resync 1
i ctl_rx_test_pattern 1
i ctl_rsfec_ieee_error_indication_mode 1
i ctl_rx_rsfec_enable 1 =1
i ctl_rx_rsfec_enable_correction 1 =1
i ctl_rx_rsfec_enable_indication 1 =1
i ctl_tx_enable 1
i ctl_tx_test_pattern 1
i ctl_tx_rsfec_enable 1 =1
i ctl_tx_send_idle 1
i ctl_tx_send_rfi 1
i ctl_tx_send_lfi 1
"""


def cmac_box() -> BlackBox:
    """The IP's module."""
    return BlackBox(_MODULE, (*ports(_CLOCKS_AND_PADS), *ports(_USER_PORTS, clock="gt_txusrclk2")))


def cmac_properties(board: Board, config: Config) -> dict[str, str]:
    """Properties of the IP (``CONFIG.*``) for a device of that configuration."""
    first, *_, last = board.mac_channels
    return {
        "CMAC_CAUI4_MODE": "1",
        "NUM_LANES": "4x25",
        "GT_REF_CLK_FREQ": f"{board.mac_clock.hz / 1e6:.10g}",
        "GT_DRP_CLK": f"{board.free_hz / 1e6:.2f}",
        "USER_INTERFACE": "AXIS",
        "INCLUDE_RS_FEC": "1",
        "ENABLE_AXI_INTERFACE": "0",
        "TX_FLOW_CONTROL": "0",
        "RX_FLOW_CONTROL": "0",
        "TX_FRAME_CRC_CHECKING": "Enable FCS Insertion",
        "RX_FRAME_CRC_CHECKING": "Enable FCS Stripping",
        "RX_MIN_PACKET_LEN": "64",
        "RX_MAX_PACKET_LEN": str(config.port.max_length + _FCS),
        "ENABLE_PIPELINE_REG": "1",
        "CMAC_CORE_SELECT": board.mac_site,
        "GT_GROUP_SELECT": f"{first}~{last}",
        **{f"LANE{k}_GT_LOC": channel for k, channel in enumerate(board.mac_channels, 1)},
    }
