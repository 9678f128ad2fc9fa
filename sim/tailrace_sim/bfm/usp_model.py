"""The UltraScale+ integrated block of cocotbext-pcie, made to behave as our device needs it.

What the library's model leaves out is served here: the configuration extend interface, function
level reset, completion time-out, Memory Space Enable, poisoned requests, BAR apertures of functions
other than 0. What it polls every clock cycle is driven on change, for speed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cocotb
from cocotb.triggers import Event, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiStreamBus
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId
from cocotbext.pcie.xilinx.us import UltraScalePlusPcieDevice
from cocotbext.pcie.xilinx.us.tlp import ErrorCode, Tlp_us
from cocotbext.pcie.xilinx.us.usp_model import LocalError

from tailrace_hw.pcie.identity import (
    MSIX_BAR,
    MSIX_PBA_OFFSET,
    MSIX_TABLE_OFFSET,
    FunctionIdentity,
)
from tailrace_sim.bfm.usp_function import (
    EXTEND_REGISTERS,
    VIRTIO_CAPABILITIES,
    TailraceFunction,
)
from tailrace_sim.bfm.usp_status import StatusPins
from tailrace_sim.bfm.usp_streams import IntegerRcSource, IntegerRqSink

__all__ = ["ATOMICS", "TailraceDevice"]

_MEMORY = frozenset(
    [TlpType.MEM_READ, TlpType.MEM_READ_64, TlpType.MEM_WRITE, TlpType.MEM_WRITE_64]
)
_WRITES = frozenset([TlpType.MEM_WRITE, TlpType.MEM_WRITE_64])
ATOMICS = frozenset(
    [
        TlpType.FETCH_ADD, TlpType.FETCH_ADD_64, TlpType.SWAP,
        TlpType.SWAP_64, TlpType.CAS, TlpType.CAS_64,
    ]
)  # fmt: skip


class TailraceDevice(StatusPins, UltraScalePlusPcieDevice):
    """The integrated block between the root complex and a design under test.

    At 512 bits RQ and RC straddle two TLPs a beat, at 256 nothing straddles.

    Attributes
    ----------
    on_request : called with (tlp, cycle) for every request TLP in the clock cycle in which the
        design hands its last beat over
    local_errors : LocalError values reported so far; a test that expects none checks it is empty
    report_dropped : a write that is dropped because its function may not master the bus gets its
        sequence number reported all the same
    completion_timeout_ns : a read without completion for that long ends in an RC descriptor with
        the time-out error code (PG213); None waits for ever

    Parameters
    ----------
    dut : has the ports of ``UspSignature`` under ``prefix``, and ``clk`` and ``rst``
    functions : identities, by function number
    prefix : of the ports: ``pcie__`` for a member ``pcie: Out(UspSignature(...))`` of the top
    max_payload : largest Max_Payload_Size in bytes
    """

    def __init__(
        self,
        dut,
        functions: Sequence[FunctionIdentity],
        *,
        prefix: str = "pcie__",
        max_payload: int = 1024,
    ):
        self.identities = list(functions)
        self.status_changed = Event()
        self.on_request: Callable[[Tlp, int], None] | None = None
        self.local_errors: list[LocalError] = []
        self.completion_timeout_ns: float | None = None
        self.report_dropped = True
        self.period_ns = 4
        self._ext_timeout = 1024
        self._flr_done_events: dict[int, Event] = {}

        def port(name):
            return getattr(dut, prefix + name) if hasattr(dut, prefix + name) else None

        width = len(getattr(dut, f"{prefix}rq__tdata"))
        names = [
            "pcie_rq_seq_num0", "pcie_rq_seq_num_vld0", "pcie_rq_seq_num1",
            "pcie_rq_seq_num_vld1", "user_lnk_up", "cfg_max_payload", "cfg_max_read_req",
            "cfg_function_status", "cfg_interrupt_msix_enable", "cfg_interrupt_msix_mask",
            "cfg_flr_in_process", "cfg_flr_done", "cfg_local_error_out", "cfg_local_error_valid",
        ]  # fmt: skip
        ext = [
            "read_received", "write_received", "register_number", "function_number",
            "write_data", "write_byte_enable", "read_data", "read_data_valid",
        ]  # fmt: skip
        msix = {
            f"pf{index}_msix_{key}": value
            for index, identity in enumerate(functions)
            for key, value in {
                "enable": True,
                "table_size": identity.vectors - 1,
                "table_bir": MSIX_BAR,
                "table_offset": MSIX_TABLE_OFFSET,
                "pba_bir": MSIX_BAR,
                "pba_offset": MSIX_PBA_OFFSET,
            }.items()
        }
        super().__init__(
            pcie_generation=3,
            pcie_link_width=16 if width == 512 else 8,
            user_clk_frequency=250e6,
            rq_straddle=width == 512,
            rc_straddle=width == 512,
            pf_count=len(self.identities),
            max_payload_size=max_payload,
            enable_client_tag=True,
            enable_extended_tag=True,
            enable_extended_configuration=True,
            user_clk=dut.clk,
            user_reset=dut.rst,
            **self._completer_buses(dut, prefix),
            **{name: port(name) for name in names},
            **{f"cfg_ext_{name}": port(f"cfg_ext__{name}") for name in ext},
            **msix,
        )
        self._start_requester(dut, prefix)
        for index, function in enumerate(self.functions):
            self._flr_done_events[index] = Event()
            function.train(self.pcie_generation, self.pcie_link_width)
            if function.identity.virtio:
                function.pcie_cap.next_cap = VIRTIO_CAPABILITIES
        if self.cfg_flr_in_process is not None:
            self.cfg_flr_in_process.value = 0
        self._flr = 0

    def _completer_buses(self, dut, prefix: str) -> dict[str, AxiStreamBus]:
        """CQ and CC, for the base class's agents."""
        cq, cc = (AxiStreamBus.from_prefix(dut, f"{prefix}{name}_") for name in ("cq", "cc"))
        return {"cq_bus": cq, "cc_bus": cc}

    def _start_requester(self, dut, prefix: str) -> None:
        """Our own agents and coroutines on RQ and RC; the base class was told of none."""
        clock, reset = self.user_clk, self.user_reset
        rq = AxiStreamBus.from_prefix(dut, f"{prefix}rq_")
        rc = AxiStreamBus.from_prefix(dut, f"{prefix}rc_")
        rq_segments, rc_segments = 1 + self.rq_straddle, 1 + self.rc_straddle
        self.rq_sink: Any = IntegerRqSink(rq, clock, reset, segments=rq_segments)
        self.rc_source: Any = IntegerRcSource(rc, clock, reset, segments=rc_segments)
        for agent in (self.rq_sink, self.rc_source):
            agent.queue_occupancy_limit_frames = 2
        for coroutine in (self._run_rq_logic, self._run_rq_seq_num_logic, self._run_rc_logic):
            cocotb.start_soon(coroutine())
        cocotb.start_soon(self._run_completion_timeout())

    def make_function(self):
        identity = self.identities[len(self.functions)]
        return self.append_function(TailraceFunction(identity, self))

    # Configuration extend interface

    async def extend_read(self, function: int, reg: int, value: int) -> int:
        """Report a configuration read; the user's answer for registers that are the user's."""
        if self.cfg_ext_read_received is None:
            return value
        await RisingEdge(self.user_clk)
        self.cfg_ext_register_number.value = reg
        self.cfg_ext_function_number.value = function
        self.cfg_ext_read_received.value = 1
        await RisingEdge(self.user_clk)
        self.cfg_ext_read_received.value = 0
        if reg not in EXTEND_REGISTERS:
            return value
        for _ in range(self._ext_timeout):
            await RisingEdge(self.user_clk)
            if self.cfg_ext_read_data_valid.value:
                return int(self.cfg_ext_read_data.value)
        self.log.warning("no answer to a read of configuration register %#x", 4 * reg)
        return 0

    async def extend_write(self, function: int, reg: int, data: int, mask: int) -> None:
        """Report a configuration write."""
        if self.cfg_ext_write_received is None:
            return
        await RisingEdge(self.user_clk)
        self.cfg_ext_register_number.value = reg
        self.cfg_ext_function_number.value = function
        self.cfg_ext_write_data.value = data
        self.cfg_ext_write_byte_enable.value = mask
        self.cfg_ext_write_received.value = 1
        await RisingEdge(self.user_clk)
        self.cfg_ext_write_received.value = 0

    # Function level reset and completion time-out

    async def function_level_reset(self, function: TailraceFunction) -> None:
        """Reset a function: registers at once, its requests ended, its user logic waited for."""
        bit = 1 << function.function_num
        function.reset_registers()
        self.status_changed.set()
        self._flr |= bit
        await RisingEdge(self.user_clk)
        self.cfg_flr_in_process.value = self._flr
        self._end_requests(function.function_num, ErrorCode.FLR)
        while True:
            await RisingEdge(self.user_clk)
            if int(self.cfg_flr_done.value) & bit:
                break
        self._flr &= ~bit
        self.cfg_flr_in_process.value = self._flr
        self._flr_done_events[function.function_num].set()

    async def wait_flr(self, function: int) -> None:
        """Wait until the next function level reset of ``function`` is complete."""
        event = self._flr_done_events[function]
        await event.wait()
        event.clear()

    def _end_requests(self, function: int, code: ErrorCode) -> None:
        """Give up on all outstanding requests of a function."""
        for tag, request in enumerate(self.active_request):
            if request and request.requester_id.function == function:
                self._end_request(tag, code)

    def _end_request(self, tag: int, code: ErrorCode) -> None:
        """Give up on an outstanding request: an RC descriptor without data (PG213)."""
        request = self.active_request[tag]
        self.active_request[tag] = None
        # BAD_STATUS stands for a completion with UR, CA or CRS: one of them is in the descriptor.
        status = CplStatus.UR if code == ErrorCode.BAD_STATUS else CplStatus.SC
        tlp = Tlp_us(Tlp.create_completion_for_tlp(request, PcieId(0, 0, 0), False, status))
        tlp.error_code = code
        tlp.request_completed = True
        self.rx_buf_cplh_fc_count += 1
        self.rx_buf_cpld_fc_count += 1
        self.rc_queue.put_nowait(tlp)

    async def _run_completion_timeout(self) -> None:
        """Looks four times within the time-out; a request is given up at its fifth sight."""
        sights: dict[int, tuple[Tlp, int]] = {}
        while True:
            await Timer((self.completion_timeout_ns or 4000) / 4, "ns", round_mode="ceil")
            if self.completion_timeout_ns is None:
                sights.clear()
                continue
            for tag, request in enumerate(self.active_request):
                if request is None:
                    sights.pop(tag, None)
                    continue
                seen, count = sights.get(tag, (request, 0))
                sights[tag] = (request, count + 1 if seen is request else 1)
                if sights[tag][1] == 5:
                    self._end_request(tag, ErrorCode.TIMEOUT)
                    del sights[tag]

    # TLPs

    async def upstream_recv(self, tlp):
        if tlp.fmt_type in _MEMORY or tlp.fmt_type in ATOMICS:
            await self._receive_request(tlp)
        else:
            await super().upstream_recv(tlp)

    async def _receive_request(self, tlp: Tlp) -> None:
        tlp.release_fc()
        answer = self.deliver(tlp)
        if answer is not None:
            await self.upstream_send(answer)

    def deliver(self, tlp: Tlp) -> Tlp | None:
        """A memory request for the user design; returns the block's own answer if it gives one."""
        for function in self.functions:
            match = function.match_bar(tlp.address)
            if match:
                break
        else:
            if tlp.fmt_type in _WRITES:
                return None
            return Tlp.create_ur_completion_for_tlp(tlp, PcieId(self.bus_num, 0, 0))
        if tlp.ep:
            self.report(LocalError.AXI4ST_CQ_EP_DROP)
            return None
        request = Tlp_us(tlp)
        request.bar_id = match[0]
        request.bar_aperture = (function.identity.bar_sizes[match[0]] - 1).bit_length()
        request.completer_id = function.pcie_id
        self._put_request(request)
        return None

    def _put_request(self, request: Tlp_us) -> None:
        self.cq_queue.put_nowait(request)

    async def _run_rq_logic(self):
        while True:
            tlp = await self.rq_sink.recv_tlp()
            if tlp.discontinue:
                continue
            if not tlp.requester_id_enable:
                tlp.requester_id = tlp.requester_id._replace(bus=self.bus_num)
            if self.on_request:
                self.on_request(tlp, self.cycle())
            function = self.functions[tlp.requester_id.function]
            if tlp.is_nonposted():
                assert not self.active_request[tlp.tag], "active tag reused"
                self.active_request[tlp.tag] = tlp
                # A function level reset takes Bus Master and Extended Tag away at once, while
                # requests are still on their way through the design.
                if not function.bus_master_enable:
                    self._end_request(tlp.tag, ErrorCode.BAD_STATUS)
                    continue
                extended = function.pcie_cap.extended_tag_field_enable
                assert tlp.tag < (256 if extended else 32), "tag out of range"
            elif not function.bus_master_enable:
                if self.report_dropped:
                    self.rq_seq_num.put_nowait(tlp.seq_num)
                continue
            await self.send(Tlp(tlp))
            self.rq_seq_num.put_nowait(tlp.seq_num)

    async def _run_rc_logic(self):
        while True:
            tlp = await self.rc_queue.get()
            await self.rc_source.send(tlp)
            self.rx_buf_cplh_fc_count -= 1
            self.rx_buf_cpld_fc_count -= tlp.get_data_credits() + 1

    def cycle(self) -> int:
        """Clock cycles since the start of the simulation."""
        return round(get_sim_time("ns") / self.period_ns)

    # The rest of the library's per-cycle coroutines, driven on change

    async def _run_cq_logic(self):
        while True:
            await self.cq_source.send((await self.cq_queue.get()).pack_us_cq())

    async def _run_rq_seq_num_logic(self):
        edge = RisingEdge(self.user_clk)
        channels = [
            (self.pcie_rq_seq_num0, self.pcie_rq_seq_num_vld0),
            (self.pcie_rq_seq_num1, self.pcie_rq_seq_num_vld1),
        ]
        channels = [pair for pair in channels if pair[0] is not None]
        while True:
            numbers = [await self.rq_seq_num.get()]
            if not channels:
                continue
            await edge
            while numbers:
                while len(numbers) < len(channels) and not self.rq_seq_num.empty():
                    numbers.append(self.rq_seq_num.get_nowait())
                for index, (number, valid) in enumerate(channels):
                    valid.value = index < len(numbers)
                    if index < len(numbers):
                        number.value = numbers[index]
                await edge
                numbers = [] if self.rq_seq_num.empty() else [self.rq_seq_num.get_nowait()]
            for _, valid in channels:
                valid.value = 0
