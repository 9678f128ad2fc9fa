"""A target on a CSR port of a design: memory with random stalls, errors and a log."""

import random
from dataclasses import dataclass

import cocotb
from cocotb.triggers import RisingEdge

from tailrace_hw.lib.csr import CsrResponse, csr_request_layout

__all__ = ["CsrAccess", "CsrTarget"]


@dataclass(frozen=True)
class CsrAccess:
    """One access as the target saw it."""

    address: int
    write: bool
    data: int
    strobe: int
    cycle: int


class CsrTarget:
    """Answers a CSR port like a memory of ``2 ** address_width`` bytes.

    Attributes
    ----------
    memory : its contents
    errors : addresses of dwords that answer with ``error`` and keep their contents
    log : accesses since the start; clear it at will
    stall : probability that a cycle passes before a request is taken or answered

    Parameters
    ----------
    dut : design
    name : of the port, e.g. ``f0_bar0``
    address_width : of the port
    rng : stalls come from it
    """

    def __init__(self, dut, name: str, address_width: int, rng: random.Random):
        self.memory = bytearray(1 << address_width)
        self.errors: set[int] = set()
        self.log: list[CsrAccess] = []
        self.stall = 0.0
        self._rng = rng
        self._clock = dut.clk
        self._layout = csr_request_layout(address_width)
        self._signals = {
            key: getattr(dut, f"{name}__{key.replace('.', '__')}")
            for key in (
                "request.valid", "request.ready", "request.payload",
                "response.valid", "response.ready", "response.payload",
            )
        }  # fmt: skip
        self._cycle = 0
        for key in ("request.ready", "response.valid", "response.payload"):
            self._signals[key].value = 0
        cocotb.start_soon(self._count())
        cocotb.start_soon(self._run())

    async def _count(self):
        while True:
            await RisingEdge(self._clock)
            self._cycle += 1

    async def _stall(self):
        while self._rng.random() < self.stall:
            await RisingEdge(self._clock)

    async def _handshake(self, mine: str, theirs: str):
        """Raise ``mine`` until ``theirs`` is seen with it."""
        self._signals[mine].value = 1
        while True:
            await RisingEdge(self._clock)
            if self._signals[theirs].value and self._signals[mine].value:
                break
        self._signals[mine].value = 0

    async def _run(self):
        while True:
            await self._stall()
            await self._handshake("request.ready", "request.valid")
            access = self._layout.from_bits(int(self._signals["request.payload"].value))
            answer = self._access(access.address, access.write, access.data, access.strobe)
            await self._stall()
            self._signals["response.payload"].value = CsrResponse.const(answer).as_bits()
            await self._handshake("response.valid", "response.ready")

    def _access(self, address: int, write: int, value: int, strobe: int) -> dict[str, int]:
        self.log.append(CsrAccess(address, bool(write), value, strobe, self._cycle))
        if address in self.errors:
            return {"data": 0, "error": 1}
        if not write:
            return {"data": int.from_bytes(self.memory[address : address + 4], "little")}
        for byte in range(4):
            if strobe >> byte & 1:
                self.memory[address + byte] = value >> 8 * byte & 0xFF
        return {"data": 0, "error": 0}
