"""Status pins of the integrated block's model, driven when they change."""

from typing import TYPE_CHECKING, Any

from cocotb.queue import Queue
from cocotb.triggers import Event, RisingEdge
from cocotbext.pcie.xilinx.us.usp_model import LocalError

if TYPE_CHECKING:
    from tailrace_sim.bfm.usp_function import TailraceFunction

__all__ = ["StatusPins"]


class StatusPins:
    """The part of :class:`~tailrace_sim.bfm.usp_model.TailraceDevice` that drives ``cfg_*``.

    The library's coroutines look at everything every clock cycle; these wait until
    ``status_changed`` is set.
    """

    user_clk: Any
    functions: "list[TailraceFunction]"
    local_errors: list[LocalError]
    local_error: Queue
    status_changed: Event
    user_lnk_up: Any
    cfg_max_payload: Any
    cfg_max_read_req: Any
    cfg_function_status: Any
    cfg_interrupt_msix_enable: Any
    cfg_interrupt_msix_mask: Any
    cfg_local_error_out: Any
    cfg_local_error_valid: Any

    def report(self, error: LocalError) -> None:
        """Report a local error on ``cfg_local_error_out``."""
        self.local_errors.append(error)
        self.local_error.put_nowait(error)
        self.status_changed.set()

    async def _run_cfg_ctrl_logic(self):
        self.config_space_enable = True

    async def _run_cfg_int_logic(self):
        """MSI-X messages are our own memory writes; the enables go with the status."""

    async def _run_cfg_status_logic(self):
        edge = RisingEdge(self.user_clk)
        while True:
            await edge
            self._drive_status()
            if not self.local_error.empty():
                self._drive_local_error(self.local_error.get_nowait())
                await edge
                self._drive_local_error(None)
                continue
            self.status_changed.clear()
            await self.status_changed.wait()

    def _drive_local_error(self, error: LocalError | None) -> None:
        if self.cfg_local_error_valid is not None:
            self.cfg_local_error_valid.value = error is not None
            self.cfg_local_error_out.value = error or 0

    def _drive_status(self) -> None:
        status = enable = mask = 0
        for index, function in enumerate(self.functions):
            status |= function.io_space_enable << 4 * index
            status |= function.memory_space_enable << 4 * index + 1
            status |= function.bus_master_enable << 4 * index + 2
            status |= function.interrupt_disable << 4 * index + 3
            enable |= function.msix_cap.msix_enable << index
            mask |= function.msix_cap.msix_function_mask << index
        values = {
            self.user_lnk_up: 1,
            self.cfg_max_payload: self.functions[0].pcie_cap.max_payload_size & 3,
            self.cfg_max_read_req: self.functions[0].pcie_cap.max_read_request_size,
            self.cfg_function_status: status,
            self.cfg_interrupt_msix_enable: enable,
            self.cfg_interrupt_msix_mask: mask,
        }
        for signal, value in values.items():
            if signal is not None:
                signal.value = value
