"""The PCIe block of an UltraScale+ device as its IP wraps it (PG213).

The primitives (PCIE40E4, PCIE4CE4) have neither transceivers nor a physical layer: those come with
the IP ``pcie4_uscale_plus`` and ``pcie4c_uscale_plus``, which have the same ports. So the black box
is the IP's module. What the IP has to be set to is derived from the device's own identities.
"""

from amaranth.hdl import Signal

from tailrace_hw.boards.blackbox import BlackBox, Port, ports
from tailrace_hw.boards.board import CORE_HZ, Board
from tailrace_hw.config import Config
from tailrace_hw.pcie.identity import (
    MSIX_BAR,
    MSIX_PBA_OFFSET,
    MSIX_TABLE_OFFSET,
    FunctionIdentity,
)
from tailrace_hw.pcie.usp import CC_USER, CQ_USER, RC_USER, RQ_USER, UspConfigSignature
from tailrace_hw.top import identities

__all__ = ["LANES", "pcie_box", "pcie_connections", "pcie_properties"]

LANES = 16
_WIDTH = 512

#: The four TLP interfaces: ours, the IP's prefix, whether the user drives it, bits of tready.
_STREAMS = (
    ("rq", "s_axis_rq_", True, RQ_USER[_WIDTH], 4),
    ("rc", "m_axis_rc_", False, RC_USER[_WIDTH], 1),
    ("cq", "m_axis_cq_", False, CQ_USER[_WIDTH], 1),
    ("cc", "s_axis_cc_", True, CC_USER[_WIDTH], 4),
)

#: Everything else in the user clock's domain: the outputs that we use and all inputs.
_USER_PORTS = """
o user_reset 1
o user_lnk_up 1
o pcie_rq_seq_num0 6
o pcie_rq_seq_num_vld0 1
o pcie_rq_seq_num1 6
o pcie_rq_seq_num_vld1 1
i pcie_cq_np_req 2
o cfg_max_payload 2
o cfg_max_read_req 3
o cfg_function_status 16
i cfg_mgmt_addr 10
i cfg_mgmt_function_number 8
i cfg_mgmt_write 1
i cfg_mgmt_write_data 32
i cfg_mgmt_byte_enable 4
i cfg_mgmt_read 1
i cfg_mgmt_debug_access 1
o cfg_local_error_valid 1
o cfg_local_error_out 5
i cfg_msg_transmit 1
i cfg_msg_transmit_type 3
i cfg_msg_transmit_data 32
i cfg_fc_sel 3
i cfg_dsn 64
i cfg_power_state_change_ack 1
o cfg_power_state_change_interrupt 1
i cfg_err_cor_in 1
i cfg_err_uncor_in 1
o cfg_flr_in_process 4
i cfg_flr_done 4
i cfg_vf_flr_func_num 8
i cfg_vf_flr_done 1
i cfg_link_training_enable 1 =1
o cfg_ext_read_received 1
o cfg_ext_write_received 1
o cfg_ext_register_number 10
o cfg_ext_function_number 8
o cfg_ext_write_data 32
o cfg_ext_write_byte_enable 4
i cfg_ext_read_data 32
i cfg_ext_read_data_valid 1
i cfg_interrupt_int 4
i cfg_interrupt_pending 4
i cfg_interrupt_msi_function_number 8
o cfg_interrupt_msix_enable 4
o cfg_interrupt_msix_mask 4
i cfg_interrupt_msix_data 32
i cfg_interrupt_msix_address 64
i cfg_interrupt_msix_int 1
i cfg_interrupt_msix_vec_pending 2
i cfg_pm_aspm_l1_entry_reject 1
i cfg_pm_aspm_tx_l0s_entry_disable 1
i cfg_config_space_enable 1
i cfg_req_pm_transition_l23_ready 1
i cfg_hot_reset_in 1
i cfg_ds_port_number 8
i cfg_ds_bus_number 8
i cfg_ds_device_number 5
"""

_PADS = f"""
o pci_exp_txn {LANES}
o pci_exp_txp {LANES}
i pci_exp_rxn {LANES}
i pci_exp_rxp {LANES}
o user_clk 1
i sys_clk 1
i sys_clk_gt 1
i sys_reset 1
"""


def _stream_ports() -> tuple[Port, ...]:
    found = []
    for _, prefix, driven, user, ready in _STREAMS:
        ours, theirs = ("i", "o") if driven else ("o", "i")
        for name, width, direction in (
            ("tdata", _WIDTH, ours),
            ("tkeep", _WIDTH // 32, ours),
            ("tlast", 1, ours),
            ("tvalid", 1, ours),
            ("tuser", user, ours),
            ("tready", ready, theirs),
        ):
            found.append(Port(prefix + name, direction, width, "user_clk"))
    return tuple(found)


def pcie_box(board: Board) -> BlackBox:
    """The IP's module."""
    return BlackBox(
        f"{board.pcie_ip}_0",
        (*ports(_PADS), *_stream_ports(), *ports(_USER_PORTS, clock="user_clk")),
    )


def pcie_connections(m, pcie) -> dict[str, object]:
    """Ports of the IP joined to a device's ``pcie``, seen from the board.

    The IP gives four copies of ``tready`` where the user drives a stream; one is enough. The
    members of :class:`UspConfigSignature` have PG213's names, ``cfg_ext`` with an underscore.
    """
    used: dict[str, object] = {}
    for name, prefix, driven, _, ready in _STREAMS:
        stream = getattr(pcie, name)
        for member in ("tdata", "tkeep", "tlast", "tvalid", "tuser"):
            used[prefix + member] = getattr(stream, member)
        if driven and ready > 1:
            copies = Signal(ready, name=f"{name}_tready")
            m.d.comb += stream.tready.eq(copies[0])
            used[f"{prefix}tready"] = copies
        else:
            used[f"{prefix}tready"] = stream.tready
    for path, _, value in UspConfigSignature().flatten(pcie):
        used["_".join(map(str, path))] = value
    return used


def _bar(size: int) -> tuple[str, int]:
    """Scale and number, as the IP wants a BAR's size."""
    for scale, unit in (("Gigabytes", 1 << 30), ("Megabytes", 1 << 20), ("Kilobytes", 1 << 10)):
        if size % unit == 0 and size >= unit:
            return scale, size // unit
    raise ValueError(f"a BAR of {size} bytes is too small")


def _bir(bar: int) -> str:
    return f"BAR_{bar + 1}:{bar}"


def _function(number: int, identity: FunctionIdentity) -> dict[str, str]:
    big, small = f"PF{number}", f"pf{number}"
    properties = {
        "vendor_id" if number == 0 else f"{small}_vendor_id": f"{identity.vendor:04X}",
        f"{big}_DEVICE_ID": f"{identity.device:04X}",
        f"{big}_REVISION_ID": f"{identity.revision:02X}",
        f"{big}_SUBSYSTEM_VENDOR_ID": f"{identity.subsystem_vendor:04X}",
        f"{big}_SUBSYSTEM_ID": f"{identity.subsystem:04X}",
        f"{big}_Use_Class_Code_Lookup_Assistant": "false",
        f"{big}_CLASS_CODE": f"{identity.class_code:06X}",
        f"{small}_msi_enabled": "false",
        f"{small}_msix_enabled": "true",
        f"{big}_MSIX_CAP_TABLE_SIZE": f"{identity.vectors - 1:03X}",
        f"{big}_MSIX_CAP_TABLE_BIR": _bir(MSIX_BAR),
        f"{big}_MSIX_CAP_TABLE_OFFSET": f"{MSIX_TABLE_OFFSET:08X}",
        f"{big}_MSIX_CAP_PBA_BIR": _bir(MSIX_BAR),
        f"{big}_MSIX_CAP_PBA_OFFSET": f"{MSIX_PBA_OFFSET:08X}",
    }
    for bar, size in identity.bar_sizes.items():
        scale, count = _bar(size)
        properties |= {
            f"{small}_bar{bar}_enabled": "true",
            f"{small}_bar{bar}_type": "Memory",
            f"{small}_bar{bar}_64bit": "true",
            f"{small}_bar{bar}_prefetchable": "false",
            f"{small}_bar{bar}_scale": scale,
            f"{small}_bar{bar}_size": str(count),
        }
    return properties


def pcie_properties(board: Board, config: Config) -> dict[str, str]:
    """Properties of the IP (``CONFIG.*``) for a device of that configuration."""
    functions = identities(config)
    properties = {
        "mode_selection": "Advanced",
        "pcie_blk_locn": board.pcie_site,
        "PL_LINK_CAP_MAX_LINK_SPEED": "8.0_GT/s",
        "PL_LINK_CAP_MAX_LINK_WIDTH": f"X{LANES}",
        "axisten_if_width": f"{_WIDTH}_bit",
        "axisten_freq": str(CORE_HZ // 1_000_000),
        "AXISTEN_IF_EXT_512_RQ_STRADDLE": "true",
        "AXISTEN_IF_EXT_512_RC_STRADDLE": "true",
        "AXISTEN_IF_EXT_512_RC_4TLP_STRADDLE": "false",
        "AXISTEN_IF_EXT_512_CQ_STRADDLE": "false",
        "axisten_if_enable_client_tag": "true",
        "extended_tag_field": "true",
        "pf0_dev_cap_max_payload": "1024_bytes",
        "TL_PF_ENABLE_REG": str(len(functions)),
        "copy_pf0": "false",
        "SRIOV_CAP_ENABLE": "false",
        "MSI_X_OPTIONS": "MSI-X_External",
        # Both spaces that the block can leave to the user: docs/status.md.
        "cfg_ext_if": "true",
        "ext_pcie_cfg_space_enabled": "true",
        "legacy_ext_pcie_cfg_space_enabled": "true",
    }
    for number, identity in enumerate(functions):
        properties |= _function(number, identity)
    return properties
