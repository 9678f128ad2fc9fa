"""The integrated block around a design on the fast backend: its TLP streams are the C++ core's.

Configuration space, function level reset and the status pins stay those of the library's model, so
that both backends have one of them. They cost Python a stride a clock cycle, and are rare.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cocotbext.pcie.core.tlp import Tlp
from cocotbext.pcie.xilinx.us.interface import UsPcieFrame
from cocotbext.pcie.xilinx.us.tlp import ErrorCode, Tlp_us, tlp_type_to_req_type

from tailrace_hw.pcie.identity import FunctionIdentity
from tailrace_sim.bfm.usp_model import TailraceDevice
from tailrace_sim.fast.kernel import Kernel

__all__ = ["Answer", "FastDevice", "Stream"]

_REQUEST_HEADER, _COMPLETION_HEADER = 4, 3
_ALWAYS = 256


@dataclass(frozen=True)
class Answer:
    """A requester completion on its way to the design (PG213, descriptor of RC).

    Attributes
    ----------
    function, tag : of the request
    data : from the first valid byte to the last one
    error_code : 0 if there is none
    completed : the request ends with it
    discontinued : marked as bad behind its header
    """

    function: int
    tag: int
    data: bytes
    error_code: int
    completed: bool
    discontinued: bool


class Stream:
    """A TLP stream of the core, as far as a test may hold it up.

    Attributes
    ----------
    pause : no beat is handed over
    """

    def __init__(self, link: Any, field: str):
        self._link = link
        self._field = field

    @property
    def pause(self) -> bool:
        return bool(getattr(self._link, self._field))

    @pause.setter
    def pause(self, value: bool) -> None:
        setattr(self._link, self._field, _ALWAYS if value else 0)


class FastDevice(TailraceDevice):
    """See :class:`TailraceDevice`; the streams ``rq_sink`` and ``rc_source`` only know a pause.

    Attributes
    ----------
    link : ``tr_pcie`` of the core: settings and counters
    on_completion : called with each completion TLP of the user design

    Parameters
    ----------
    kernel : simulation that ``dut`` belongs to
    """

    def __init__(
        self, kernel: Kernel, dut, functions: Sequence[FunctionIdentity], *, prefix: str = "pcie__"
    ):
        self.kernel = kernel
        self.index: int = dut._handle.device
        self.link = kernel.lib.tr_pcie_of(kernel.world, self.index)
        self.on_completion: Callable[[Tlp], None] | None = None
        self._on_request: Callable[[Tlp, int], None] | None = None
        self._watchers: list[tuple[Callable[[Tlp_us], None], Callable[[Tlp], None]]] = []
        self._width = len(getattr(dut, f"{prefix}rq__tdata"))
        super().__init__(dut, functions, prefix=prefix)

    @property
    def dw(self) -> int:
        """Bits of the interfaces; the library takes it from the streams that it is given."""
        return self._width

    @dw.setter
    def dw(self, value: int | None) -> None:
        assert value in (None, self._width)

    # Settings that the core has to know

    @property
    def on_request(self) -> Callable[[Tlp, int], None] | None:
        return self._on_request

    @on_request.setter
    def on_request(self, function: Callable[[Tlp, int], None] | None) -> None:
        self._on_request = function
        self.link.export_requests = function is not None or bool(self._watchers)

    def watch(
        self, on_put: Callable[[Tlp_us], None], on_completion: Callable[[Tlp], None]
    ) -> None:
        """Call with each request of the host that the design gets, and with each completion of the
        design; the core tells all of the design's requests from now on, and what completes them."""
        self._watchers.append((on_put, on_completion))
        self.link.export_requests = self.link.export_completions = True

    @property
    def completion_timeout_ns(self) -> float | None:
        return self.link.timeout / 1000 or None

    @completion_timeout_ns.setter
    def completion_timeout_ns(self, value: float | None) -> None:
        self.link.timeout = round(1000 * (value or 0))

    @property
    def report_dropped(self) -> bool:
        return bool(self.link.report_dropped)

    @report_dropped.setter
    def report_dropped(self, value: bool) -> None:
        self.link.report_dropped = value

    # Streams

    def _completer_buses(self, dut, prefix: str) -> dict[str, Any]:
        self.kernel.on_event(self.index, self.kernel.lib.TR_COMPLETION, self._completed)
        return {}

    def _start_requester(self, dut, prefix: str) -> None:
        self.rq_sink: Any = Stream(self.link, "stall_rq")
        self.rc_source: Any = Stream(self.link, "stall_rc")
        self.kernel.on_event(self.index, self.kernel.lib.TR_REQUEST, self._requested)

    def _requested(self, event: Any) -> None:
        if self._on_request is not None:
            self._on_request(self.request_tlp(event), event.b)

    def request_tlp(self, event: Any) -> Tlp_us:
        """The requester request of a ``TR_REQUEST`` or ``TR_TAKEN`` event."""
        data = bytes(self.kernel.ffi.buffer(event.data, event.length))
        header = UsPcieFrame()
        header.data = list(memoryview(data[: 4 * _REQUEST_HEADER]).cast("I"))
        header.first_be, header.last_be = event.a & 15, event.a >> 4 & 15
        tlp = Tlp_us.unpack_us_rq(header)
        tlp.data = bytearray(data[4 * _REQUEST_HEADER :])
        if not tlp.requester_id_enable:
            tlp.requester_id = tlp.requester_id._replace(bus=self.bus_num)
        return tlp

    def answer(self, event: Any) -> Answer:
        """What a ``TR_READ_COMPLETION`` event tells of."""
        payload = bytes(self.kernel.ffi.buffer(event.data, event.length))
        first, second, third = memoryview(payload[: 4 * _COMPLETION_HEADER]).cast("I")
        data = payload[4 * _COMPLETION_HEADER + (first & 3) :][: first >> 16 & 0x1FFF]
        return Answer(
            function=second >> 16 & 7, tag=third & 0xFF, data=data, error_code=first >> 12 & 15,
            completed=bool(first >> 30 & 1), discontinued=bool(event.a),
        )  # fmt: skip

    def _completed(self, event: Any) -> None:
        if event.a:
            return
        frame = UsPcieFrame()
        frame.data = list(memoryview(bytes(self.kernel.ffi.buffer(event.data, event.length)))
                          .cast("I"))  # fmt: skip
        tlp = Tlp_us.unpack_us_cc(frame)
        if not tlp.completer_id_enable:
            tlp.completer_id = tlp.completer_id._replace(bus=self.bus_num)
        for _, on_completion in self._watchers:
            on_completion(Tlp(tlp))
        if self.on_completion is not None:
            self.on_completion(Tlp(tlp))

    def _put_request(self, request: Tlp_us) -> None:
        for on_put, _ in self._watchers:
            on_put(request)
        descriptor = (
            request.at & 3 | request.address & 0xFFFFFFFC,
            request.address >> 32,
            request.length & 0x7FF
            | tlp_type_to_req_type[request.fmt_type] << 11
            | int(request.requester_id) << 16,
            request.tag & 0xFF
            | request.completer_id.function << 8
            | request.bar_id << 16
            | request.bar_aperture << 19
            | request.tc << 25
            | request.attr << 28,
        )
        dwords = [*descriptor, *memoryview(request.data).cast("I")]
        self.kernel.lib.tr_pcie_request(
            self.kernel.world, self.index, dwords, len(dwords), request.first_be, request.last_be
        )

    def _end_requests(self, function: int, code: ErrorCode) -> None:
        self.kernel.lib.tr_pcie_end(self.kernel.world, self.index, function, code)

    def _drive_status(self) -> None:
        super()._drive_status()
        self.link.bus_number = self.bus_num
        # The core sees this at once, and the pins only behind the edge: a function that a reset
        # takes Bus Master from still masters it in this cycle, with the tags it had.
        for index, function in enumerate(self.functions):
            if function.pcie_cap.extended_tag_field_enable:
                self.link.extended_tag |= 1 << index
            elif function.bus_master_enable:
                self.link.extended_tag &= ~(1 << index)
