"""Inside the simulator: tests that fail, for the one who reports it."""

import cocotb


@cocotb.test()
async def fails_with_a_reason(dut):
    raise ValueError("the reason is this\nand this is detail")


@cocotb.test()
async def fails_without_words(dut):
    raise RuntimeError
