"""A physical function of the integrated block's model, with the identity that was built in."""

from typing import TYPE_CHECKING

import cocotb
from cocotbext.pcie.xilinx.us import UltraScalePlusPcieFunction

from tailrace_hw.pcie.identity import MSIX_BAR, FunctionIdentity

if TYPE_CHECKING:
    from tailrace_sim.bfm.usp_model import TailraceDevice

__all__ = ["EXTEND_REGISTERS", "VIRTIO_CAPABILITIES", "TailraceFunction"]

#: Dwords of configuration space that the user design answers: 0x48 to 0x5B, where the disabled MSI
#: capability would be, and 0xB0 to 0xFF. PG213 promises that for the extended space (0x480 or 0xE80
#: and up) only; that a block can be set up so that it leaves these to the user is our assumption.
EXTEND_REGISTERS = frozenset([*range(0x48 // 4, 0x5C // 4), *range(0xB0 // 4, 0x100 // 4)])
_LINK_CAPABILITIES = 3  # dwords into the PCI Express capability
#: Where the capability chain of a virtio function goes on behind the block's own.
VIRTIO_CAPABILITIES = 0xB0


class TailraceFunction(UltraScalePlusPcieFunction):
    """A physical function with the identity that the gateware was built for.

    Parameters
    ----------
    identity : its IDs, BARs and MSI-X table
    device : what it belongs to; answers the registers that the block does not own
    """

    def __init__(self, identity: FunctionIdentity, device: "TailraceDevice"):
        super().__init__()
        self.identity = identity
        self._device = device
        self.vendor_id = identity.vendor
        self.device_id = identity.device
        self.subsystem_vendor_id = identity.subsystem_vendor
        self.subsystem_id = identity.subsystem
        self.class_code = identity.class_code
        self.revision_id = identity.revision
        for bar, size in identity.bar_sizes.items():
            # The MSI-X BAR has no read side effects, and prefetchable it goes above 4 GiB.
            self.configure_bar(bar, size, ext=True, prefetch=bar == MSIX_BAR)
        self.deregister_capability(self.msi_cap)
        # The library lists the extended capabilities among those of the first 256 bytes.
        for capability in (self.aer_ext_cap, self.pcie_ext_cap):
            self.deregister_capability(capability)
            self.register_extended_capability(capability, capability.offset)
        self.pcie_cap.function_level_reset_capability = True
        self.pcie_cap.initiate_function_level_reset = self._start_flr

    def match_bar(self, addr, io=False):
        """A function whose Memory Space Enable is 0 claims no request (PCIe 5.0, 7.5.1.1.3)."""
        return super().match_bar(addr, io) if self.memory_space_enable else None

    def train(self, speed: int, width: int):
        """The link is up: what its registers say (PCIe 5.0, 7.5.3.6 to 7.5.3.20)."""
        capability = self.pcie_cap
        capability.max_link_speed = capability.current_link_speed = speed
        capability.max_link_width = capability.negotiated_link_width = width
        capability.target_link_speed = speed
        capability.supported_link_speeds = (1 << speed) - 1

    async def read_config_register(self, reg):
        value = await super().read_config_register(reg)
        if reg == self.pcie_cap.offset + _LINK_CAPABILITIES:
            # The library shifts the width the wrong way.
            value = value & ~0x3FF | self.pcie_cap.max_link_speed
            value |= self.pcie_cap.max_link_width << 4
        return await self._device.extend_read(self.function_num, reg, value)

    async def write_config_register(self, reg, data, mask):
        await super().write_config_register(reg, data, mask)
        await self._device.extend_write(self.function_num, reg, data, mask)
        self._device.status_changed.set()

    async def _start_flr(self):
        cocotb.start_soon(self._device.function_level_reset(self))

    def reset_registers(self):
        """What a function level reset clears (PCIe 5.0, 6.6.2); MPS is among the exceptions."""
        self.io_space_enable = False
        self.memory_space_enable = False
        self.bus_master_enable = False
        self.parity_error_response_enable = False
        self.serr_enable = False
        self.interrupt_disable = False
        for bar in self.identity.bar_sizes:
            self.bar[bar] &= 0xF
            self.bar[bar + 1] = 0
        self.msix_cap.msix_enable = False
        self.msix_cap.msix_function_mask = False
        self.pcie_cap.extended_tag_field_enable = False
        self.pcie_cap.max_read_request_size = 2
