"""Runs in the simulator, see test_control.py: control side and DMA engines together."""

import cocotb
from cocotb.triggers import RisingEdge
from control_bench import Bench
from dma_agents import ReadClient, WriteClient
from msix_cocotb import Vectors

from tailrace_hw import regs
from tailrace_hw.errors import ErrorCode
from tailrace_hw.lib.csr import CsrResponse, csr_request_layout
from tailrace_hw.pcie.dma import DmaStatus

REGISTERS = regs.load("pcie/regs.rdl")


class SystemBench(Bench):
    """The control bench with a read client, a write client and the block's registers."""

    def __init__(self, dut):
        super().__init__(dut)
        self.width = len(dut.reads__0__data__payload) // 64 * 64
        self.reader = ReadClient(self, 0)
        self.writer = WriteClient(self, 0)
        dut.registers__request__valid.value = 0
        dut.registers__response__ready.value = 1

    async def register(self, name, index=0):
        """Read a register of the subsystem."""
        register = REGISTERS[name]
        layout = csr_request_layout(10)
        value = 0
        for word in range(register.width // 32):
            address = register.addresses[index] + 4 * word
            dut = self.dut
            dut.registers__request__payload.value = layout.const(
                {"address": address, "strobe": 15}
            ).as_bits()
            dut.registers__request__valid.value = 1
            while True:
                await RisingEdge(dut.clk)
                if dut.registers__request__ready.value:
                    break
            dut.registers__request__valid.value = 0
            while not dut.registers__response__valid.value:
                await RisingEdge(dut.clk)
            response = CsrResponse.from_bits(int(dut.registers__response__payload.value))
            assert not response.error
            value |= response.data << 32 * word
        return value


@cocotb.test()
async def interrupt_after_data(dut):
    """A message that is asked for after a write's response finds the data in host memory."""
    bench = await SystemBench(dut).start()
    host, rng = bench.host, bench.rng
    vectors = Vectors(bench, 1)
    await vectors.control(enable=True, mask=False)
    await vectors.program(7)
    await bench.settle()
    image = {}
    seen = []

    def look():
        seen.append({where: host.memory.read(where, len(what)) for where, what in image.items()})

    host.on_interrupt(vectors.number(7), look)
    total = 0
    for round_ in range(12):
        bench.stall(0.3 if round_ % 2 else 0.0)
        address, data = rng.randrange(1 << 20), rng.randbytes(rng.randrange(1, 3000))
        image = {address: data}
        write = bench.writer.write(address, data, function=1)
        await write.done.wait()
        assert write.status == DmaStatus.OK
        await bench.interrupt(1, 7)
        await host.wait_interrupt(vectors.number(7), round_ + 1)
        assert seen[-1] == image
        total += len(data)
    read = bench.reader.read(address, len(data), function=1)
    await read.done.wait()
    assert (read.status, bytes(read.data)) == (DmaStatus.OK, data)
    await bench.cycles(50)
    assert await bench.register("messages") == 12
    assert await bench.register("write_requests") == 24
    assert await bench.register("write_bytes") == total + 4 * 12
    assert await bench.register("read_requests") == 1
    assert await bench.register("read_bytes") == len(data)
    # Max_Payload_Size 256, Max_Read_Request_Size 512, extended tags, everything at rest
    assert await bench.register("status") == 1 | 2 << 4 | 1 << 8
    assert not bench.errors


@cocotb.test()
async def faults_and_resets(dut):
    """What DMA reports and counts: a fence, an injected fault, a function that is reset."""
    bench = await SystemBench(dut).start()
    host = bench.host
    host.memory.fence()
    host.memory.map(0x10000, 0x2000, function=1)

    async def read(address, function=1):
        one = bench.reader.read(address, 64, function=function)
        await one.done.wait()
        return one.status

    assert await read(0x10000) == DmaStatus.OK
    assert await read(0x20000) == DmaStatus.UR
    # Another function's memory is nobody else's.
    assert await read(0x10000, function=0) == DmaStatus.UR
    fault = host.inject("poison", 0x10000, 0x11000)
    assert await read(0x10000) == DmaStatus.POISONED
    assert fault.hits == 1
    assert await read(0x10000) == DmaStatus.OK
    # No completion: the block gives up and says so.
    host.device.completion_timeout_ns = 2000
    host.inject("drop", 0x10000, 0x11000)
    assert await read(0x10000) == DmaStatus.TIMEOUT
    assert await read(0x10000) == DmaStatus.OK
    reset = cocotb.start_soon(host.function_level_reset(1))
    while not bench.state(1).reset:
        await bench.cycles(1)
    assert await read(0x10000) == DmaStatus.BUS_MASTER_OFF
    await reset
    assert await read(0x10000) == DmaStatus.OK
    write = bench.writer.write(0x30000, bytes(64), function=1)
    await write.done.wait()
    assert write.status == DmaStatus.OK, "a posted write that the host drops is not seen"
    # The response says that nothing can overtake the write, not that the host has it already.
    await bench.cycles(50)
    assert (True, 1, 0x30000) in host.traffic.refused
    codes = [event[1] for event in bench.take_errors()]
    assert codes == [
        ErrorCode.DMA_UR, ErrorCode.DMA_UR, ErrorCode.DMA_POISONED, ErrorCode.DMA_TIMEOUT,
        ErrorCode.DMA_BUS_MASTER_OFF,
    ]  # fmt: skip
    failed = [await bench.register("read_failed", k) for k in range(6)]
    assert failed == [2, 0, 1, 1, 1, 0]
    assert await bench.register("function_resets") == 1
