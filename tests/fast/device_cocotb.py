"""Inside the simulator: what the core is told by the Python half of the integrated block."""

from random import Random

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.pcie.core.tlp import Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId

from tailrace_sim.run import seed
from tailrace_sim.system import System

_PCI_EXPRESS, _DEVICE_CONTROL, _EXTENDED_TAG = 0x10, 8, 1 << 8
_READS = (TlpType.MEM_READ, TlpType.MEM_READ_64)
_WRITES = (TlpType.MEM_WRITE, TlpType.MEM_WRITE_64)


@cocotb.test()
async def settings_follow(dut) -> None:
    """Bus number, Extended Tag of each function, and what a test sets."""
    system = await System.start(dut)
    device = system.pcie.device
    link = device.link
    assert link.bus_number == device.bus_num != 0
    assert link.extended_tag == 0b11
    function = system.device.management.function
    place = function.capability(_PCI_EXPRESS).offset + _DEVICE_CONTROL
    control = await function.config_read(place, 2)
    assert control & _EXTENDED_TAG
    await function.config_write(place, control & ~_EXTENDED_TAG, 2)
    await ClockCycles(dut.clk, 4)
    assert link.extended_tag == 0b10
    await function.config_write(place, control, 2)
    await ClockCycles(dut.clk, 4)
    assert link.extended_tag == 0b11
    for wanted in (False, True):
        device.report_dropped = wanted
        assert (link.report_dropped, device.report_dropped) == (wanted, wanted)
    for wanted in (1500.0, None):
        device.completion_timeout_ns = wanted
        assert device.completion_timeout_ns == wanted
        assert link.timeout == 1000 * (wanted or 0)
    for stream, name in ((device.rq_sink, "stall_rq"), (device.rc_source, "stall_rc")):
        for wanted in (True, False):
            stream.pause = wanted
            assert (getattr(link, name), stream.pause) == (256 * wanted, wanted)


class _Core:
    """Keeps the requests that the core is given."""

    def __init__(self, lib):
        self._lib = lib
        self.requests = []

    def __getattr__(self, name):
        return getattr(self._lib, name)

    def tr_pcie_request(self, world, device, dwords, count, first_be, last_be):
        assert count == len(dwords)
        self.requests.append((list(dwords), first_be, last_be))


@cocotb.test()
async def requests_are_packed_as_by_the_library(dut) -> None:
    """Descriptor and payload of requests to every function, bit by bit."""
    system = await System.start(dut)
    device, rng = system.pcie.device, Random(seed())
    core = _Core(device.kernel.lib)
    device.kernel.lib, lib = core, device.kernel.lib
    packed = []
    device.watch(lambda request: packed.append(request.pack_us_cq()), lambda _: None)
    functions = [system.device.management.function, system.device.net_functions[0]]
    try:
        for _ in range(60):
            tlp = Tlp()
            tlp.fmt_type = rng.choice(_READS + _WRITES)
            tlp.requester_id, tlp.tag = PcieId(0, 0, 0), rng.randrange(256)
            tlp.tc, tlp.attr = rng.randrange(8), rng.randrange(8)
            start = rng.choice(functions).bars[0].address + rng.randrange(0, 2000)
            size = rng.randrange(1, 60)
            if tlp.fmt_type in _WRITES:
                tlp.set_addr_be_data(start, rng.randbytes(size))
            else:
                tlp.set_addr_be(start, size)
            device.deliver(tlp)
    finally:
        device.kernel.lib = lib
    assert len(core.requests) == 60
    assert core.requests == [(frame.data, frame.first_be, frame.last_be) for frame in packed]
    assert len({dwords[3] >> 19 & 0x3F for dwords, _, _ in core.requests}) == 2, "two apertures"


@cocotb.test()
async def a_discontinued_completion_is_none(dut) -> None:
    """The link never sees what the design has marked as bad."""
    system = await System.start(dut)
    device = system.pcie.device
    seen = []
    device.on_completion = seen.append
    payload = device.kernel.ffi.new("uint32_t[]", [4 << 16, 1, 5 | 1 << 8, 7])

    class Event:
        data, length, a = device.kernel.ffi.cast("uint8_t *", payload), 16, 1

    device._completed(Event)
    assert seen == []
    Event.a = 0
    device._completed(Event)
    assert [(tlp.tag, bytes(tlp.data)) for tlp in seen] == [(5, b"\7\0\0\0")]
