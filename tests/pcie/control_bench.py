"""What the tests of the PCIe control side share."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from control_top import IDENTITIES

from tailrace_hw.errors import ErrorCode, ErrorEvent, ErrorSource
from tailrace_hw.pcie.function import FunctionState, InterruptRequest
from tailrace_sim.bfm.csr_target import CsrTarget
from tailrace_sim.bfm.pcie_host import PcieHost
from tailrace_sim.run import seed


def coin(rng, probability):
    """Endless random pauses for a source or sink."""
    while True:
        yield rng.random() < probability


class Bench:
    """A host on the control side, its BARs backed by memories, its errors collected."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(seed())
        self.host = PcieHost(dut, IDENTITIES, seed=seed())
        self.bars = [
            CsrTarget(dut, f"f{index}_bar0", one.control_size.bit_length() - 1, self.rng)
            for index, one in enumerate(IDENTITIES)
        ]
        self.errors: list[tuple[ErrorSource, ErrorCode, int, int]] = []
        self.flr_delay = 5
        self.flr_seen = [0, 0]
        dut.interrupt__valid.value = 0
        dut.errors__ready.value = 0
        dut.flr__0__done.value = 0
        dut.flr__1__done.value = 0

    async def start(self):
        await self.host.start()
        cocotb.start_soon(self._collect_errors())
        for index in range(2):
            cocotb.start_soon(self._answer_flr(index))
        await self.host.enumerate()
        await ClockCycles(self.dut.clk, 10)
        return self

    def stall(self, probability):
        """Random stalls on every port."""
        device = self.host.device
        for part in (device.cq_source, device.cc_sink, device.rq_sink):
            part.set_pause_generator(coin(self.rng, probability))
        for bar in self.bars:
            bar.stall = probability

    async def cycles(self, count):
        await ClockCycles(self.dut.clk, count)

    async def _collect_errors(self):
        dut = self.dut
        while True:
            dut.errors__ready.value = self.rng.random() < 0.7
            await RisingEdge(dut.clk)
            if dut.errors__valid.value and dut.errors__ready.value:
                event = ErrorEvent.from_bits(int(dut.errors__payload.value))
                self.errors.append(
                    (
                        ErrorSource(event.source), ErrorCode(event.code),
                        event.function, event.info,
                    )
                )  # fmt: skip

    async def _answer_flr(self, index):
        """A block that needs a while to come to rest."""
        request = getattr(self.dut, f"flr__{index}__request")
        done = getattr(self.dut, f"flr__{index}__done")
        while True:
            if not request.value:
                await RisingEdge(request)
            await self.cycles(self.flr_delay)
            assert self.state(index).reset, "a function's blocks reset while it is not in reset"
            self.flr_seen[index] += 1
            done.value = 1
            while request.value:
                await RisingEdge(self.dut.clk)
            done.value = 0

    def state(self, index):
        return FunctionState.from_bits(int(getattr(self.dut, f"state__{index}").value))

    async def interrupt(self, function, vector):
        """Ask for an interrupt; returns when the request was taken."""
        request = {"function": function, "vector": vector}
        self.dut.interrupt__payload.value = InterruptRequest.const(request).as_bits()
        self.dut.interrupt__valid.value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.interrupt__ready.value:
                break
        self.dut.interrupt__valid.value = 0

    async def settle(self):
        """Read something back: all writes before it have been done by then."""
        await self.host.read(self.host.functions[0].bars[0], 4)

    def take_errors(self):
        errors, self.errors = self.errors, []
        return errors
