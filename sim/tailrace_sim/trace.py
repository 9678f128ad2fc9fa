"""Transactions of a running simulation, a readable line each.

::

      cycle  what                                                     (cycle of the core's clock)
       1042  pcie  device>host  MRd  f1 tag 03  0x00a40000     64 B
       1150  pcie  host>device  CplD f1 tag 03                 64 B  0a 00 00 00 00 00 00 00...
       1163  pcie  device>host  MWr  f1         0x00a48000    128 B  0a 00 00 00 00 00 00 00...
       1180  pcie  host>device  MWr  f1         BAR0+0x3004     4 B  01 00 00 00
       1200  port 0 in     98 B  Ether / IP / ICMP 10.0.0.1 > 10.0.0.2 echo-request 0 / Raw

A request of the device stands where its last beat left it, a request of the host where the host
made it, what completes a read of the device where its last beat was offered. A frame on a link
between two ports is shown at both. With more than one device in the simulation, ``dpu N`` is in
front. Records of the error collector come with its interrupt, for which the trace sets up a
vector; that takes a few register accesses.
"""

import functools
import sys
from collections.abc import Callable
from typing import IO, Any

import cocotb
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from scapy.layers.l2 import Ether

from tailrace.errors import TailraceError
from tailrace_sim.bfm.mac_port import WireFrame
from tailrace_sim.fast.mac_port import FastPort
from tailrace_sim.look import Look

__all__ = ["Trace", "trace_output"]

_PERIOD = 4000  # ps of the core's clock
_BYTES = 8
_SHORT = {
    TlpType.MEM_READ: "MRd", TlpType.MEM_READ_64: "MRd",
    TlpType.MEM_WRITE: "MWr", TlpType.MEM_WRITE_64: "MWr",
}  # fmt: skip
_ERRORS_VECTOR = 0
#: Writes there are interrupts, as in ``core/fast.h``.
_INTERRUPTS, _INTERRUPTS_SIZE = 0xFEE00000, 0x100000
_CLIENT_INTERRUPTS_SIZE = 4096


@functools.cache
def trace_output(look: Look) -> IO[str]:
    """Where the trace of this process goes."""
    if look.trace_file is None:
        return sys.stdout
    return open(look.trace_file, "w")


def _first(data: bytes) -> str:
    return data[:_BYTES].hex(" ") + ("..." if len(data) > _BYTES else "")


def _enabled(tlp: Any) -> bytes:
    """Data of a request, from its first enabled byte to the last one."""
    offset = tlp.get_first_be_offset()
    return bytes(tlp.data)[offset : offset + tlp.get_be_byte_count()]


class Trace:
    """Writes lines of the kinds that are wanted.

    Parameters
    ----------
    system : a :class:`~tailrace_sim.system.System` on the fast backend
    kinds : of :data:`tailrace_sim.look.TRACES`
    output : where the lines go, each at once
    """

    def __init__(self, system: Any, kinds: tuple[str, ...], output: IO[str]):
        self._system = system
        self._output = output
        self._kernel = system.port.kernel
        self._device = system.pcie.device
        self._who = f"dpu {self._device.index}  " if self._kernel.devices > 1 else ""
        if "pcie" in kinds:
            self._watch_pcie()
        if "frames" in kinds:
            system.port.watch(self._frame)

    @classmethod
    async def start(cls, system: Any, kinds: tuple[str, ...], output: IO[str]) -> "Trace":
        """A trace that is complete from now on."""
        trace = cls(system, kinds, output)
        if "errors" in kinds:
            await trace._watch_errors()
        return trace

    def line(self, text: str, cycle: int | None = None) -> None:
        """Write one, of now or of a cycle."""
        now = self._kernel.now() // _PERIOD if cycle is None else cycle
        print(f"{now:10}  {self._who}{text}", file=self._output, flush=True)

    # Frames

    def _frame(self, port: FastPort, direction: str, frame: WireFrame, error: bool) -> None:
        try:
            summary = Ether(frame.data).summary()
        except Exception as error:  # whatever scapy makes of garbage, the simulation goes on
            summary = f"scapy: {error}"
        bad = "  bad FCS" if error else ""
        self.line(f"port {port.index} {direction:3} {len(frame.data):5} B  {summary}{bad}")

    # PCIe

    def _watch_pcie(self) -> None:
        lib, device = self._kernel.lib, self._device
        handlers: dict[int, Callable[[Any], None]] = {
            lib.TR_REQUEST: self._requested,
            lib.TR_READ_COMPLETION: self._answered,
            lib.TR_INTERRUPT: lambda event: self._pcie(
                "device>host", "MSI", event.c, None, f"0x{event.b:08x}", 4,
                f"data 0x{event.a:08x}",
            ),
            lib.TR_REFUSED: lambda event: self._pcie(
                "host", "MWr" if event.a else "MRd", event.c, None, f"0x{event.b:08x}", event.d,
                "refused: no such memory, or not mapped for the function",
            ),
            lib.TR_LOCAL: lambda event: self.line(
                f"pcie  block  read with tag {event.a:02x} given up, error code {event.b}"
            ),
        }  # fmt: skip

        def observe(event: Any) -> None:
            handler = handlers.get(event.kind)
            if handler is not None and event.device == device.index:
                handler(event)

        self._kernel.observers.append(observe)
        device.watch(self._from_host, self._completed)

    def _requested(self, event: Any) -> None:
        tlp = self._device.request_tlp(event)
        if tlp.is_posted() and self._is_interrupt(tlp):
            return  # has a line of its own
        tag = tlp.tag if not tlp.is_posted() else None
        self._pcie(
            "device>host", _SHORT.get(tlp.fmt_type, tlp.fmt_type.name), tlp.requester_id.function,
            tag, f"0x{tlp.address + tlp.get_first_be_offset():08x}", tlp.get_be_byte_count(),
            _first(_enabled(tlp)), cycle=int(event.b),
        )  # fmt: skip

    def _answered(self, event: Any) -> None:
        answer = self._device.answer(event)
        notes = [_first(answer.data)] if answer.data else []
        if answer.error_code:
            notes.append(f"error code {answer.error_code}")
        if answer.discontinued:
            notes.append("discontinued")
        if not answer.completed:
            notes.append("more to come")
        self._pcie(
            "host>device", "CplD" if answer.data else "Cpl", answer.function, answer.tag, "",
            len(answer.data), "  ".join(notes),
        )  # fmt: skip

    def _is_interrupt(self, tlp: Any) -> bool:
        kernel, function = self._kernel, tlp.requester_id.function
        space = kernel.lib.tr_space_of(kernel.world, self._device.index, function)
        if space.own:
            return 0 <= tlp.address - space.interrupt_base < _CLIENT_INTERRUPTS_SIZE
        return 0 <= tlp.address - _INTERRUPTS < _INTERRUPTS_SIZE

    def _from_host(self, tlp: Any) -> None:
        tag = tlp.tag if not tlp.is_posted() else None
        offset = tlp.address & ((1 << tlp.bar_aperture) - 1)
        self._pcie(
            "host>device", _SHORT.get(tlp.fmt_type, tlp.fmt_type.name), tlp.completer_id.function,
            tag, f"BAR{tlp.bar_id}+0x{offset + tlp.get_first_be_offset():04x}",
            tlp.get_be_byte_count(), _first(_enabled(tlp)),
        )  # fmt: skip

    def _completed(self, tlp: Tlp) -> None:
        good, low = tlp.status == CplStatus.SC, tlp.lower_address & 3
        data = bytes(tlp.data)[low : low + tlp.byte_count]
        self._pcie(
            "device>host", "CplD" if data else "Cpl", tlp.completer_id.function, tlp.tag, "",
            len(data), _first(data) if good else tlp.status.name,
        )  # fmt: skip

    def _pcie(
        self, way: str, kind: str, function: int, tag: int | None, address: str, size: int,
        what: str, cycle: int | None = None,
    ) -> None:  # fmt: skip
        number = "      " if tag is None else f"tag {tag:02x}"
        text = f"pcie  {way:11}  {kind:4} f{function} {number}  {address:18} {size:5} B  {what}"
        self.line(text.rstrip(), cycle)

    # Errors

    async def _watch_errors(self) -> None:
        function = self._system.device.management.function
        host = self._system.host
        interrupt = host.interrupt(function.address, _ERRORS_VECTOR)
        assert function.msix is not None
        await function.msix.setup([_ERRORS_VECTOR])
        cocotb.start_soon(self._report(interrupt))

    async def _report(self, interrupt: Any) -> None:
        """The records that are new, with each interrupt."""
        seen: set[int] = set()
        while True:
            interrupt.clear()
            try:
                for record in await self._system.device.management.errors():
                    if record.code not in seen:
                        seen.add(record.code)
                        self.line(f"error {record}")
            except TailraceError as error:
                self.line(f"error collector cannot be read: {error}")
            await interrupt.wait()
