"""A small AXI4 manager: copies memory, burst by burst."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

WIDTH, ID_BITS, BEATS = 128, 2, 4
BURST = BEATS * WIDTH // 8

_ADDRESS = {"id": ID_BITS, "addr": 32, "len": 8, "size": 3, "burst": 2, "valid": 1}


def axi4() -> wiring.Signature:
    """AXI4 as its manager sees it; names of ARM IHI 0022."""
    members = {}
    for channel in ("aw", "ar"):
        members |= {f"{channel}{name}": Out(bits) for name, bits in _ADDRESS.items()}
        members[f"{channel}ready"] = In(1)
    members |= {"wdata": Out(WIDTH), "wstrb": Out(WIDTH // 8), "wlast": Out(1), "wvalid": Out(1)}
    members |= {"wready": In(1), "bid": In(ID_BITS), "bresp": In(2), "bvalid": In(1)}
    members |= {"bready": Out(1), "rid": In(ID_BITS), "rdata": In(WIDTH), "rresp": In(2)}
    members |= {"rlast": In(1), "rvalid": In(1), "rready": Out(1)}
    return wiring.Signature(members)


class AxiCopy(wiring.Component):
    """From a 1 on ``start`` on: ``count`` bursts from ``source`` to ``target``, both aligned to a
    burst; then ``done``. ``errors`` counts responses that are not OKAY."""

    def __init__(self):
        super().__init__({
            "mem0": Out(axi4()), "start": In(1), "count": In(16), "source": In(32),
            "target": In(32), "done": Out(1), "errors": Out(16),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        mem = self.mem0
        left, beat = Signal(16), Signal(range(BEATS))
        source, target = Signal(32), Signal(32)
        buffer = Signal(data.ArrayLayout(WIDTH, BEATS))
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(mem, f"{channel}id").eq(left),
                getattr(mem, f"{channel}addr").eq(source if channel == "ar" else target),
                getattr(mem, f"{channel}len").eq(BEATS - 1),
                getattr(mem, f"{channel}size").eq((WIDTH // 8).bit_length() - 1),
                getattr(mem, f"{channel}burst").eq(1),
            ]
        m.d.comb += [
            mem.wdata.eq(buffer[beat]), mem.wlast.eq(beat == BEATS - 1), mem.bready.eq(1),
            mem.wstrb.eq(Cat(1 for _ in range(WIDTH // 8))),
        ]  # fmt: skip
        with m.If((mem.bvalid & (mem.bresp != 0)) | (mem.rvalid & mem.rready & (mem.rresp != 0))):
            m.d.sync += self.errors.eq(self.errors + 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.done.eq(left == 0)
                with m.If(self.start):
                    m.d.sync += [
                        left.eq(self.count), source.eq(self.source), target.eq(self.target),
                    ]  # fmt: skip
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += mem.arvalid.eq(1)
                with m.If(mem.arready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += mem.rready.eq(1)
                with m.If(mem.rvalid):
                    m.d.sync += [buffer[beat].eq(mem.rdata), beat.eq(beat + 1)]
                    with m.If(mem.rlast):
                        m.d.sync += beat.eq(0)
                        m.next = "TARGET"
            with m.State("TARGET"):
                m.d.comb += mem.awvalid.eq(1)
                with m.If(mem.awready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += mem.wvalid.eq(1)
                with m.If(mem.wready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(mem.wlast):
                        m.d.sync += beat.eq(0)
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(mem.bvalid):
                    m.d.sync += [
                        left.eq(left - 1), source.eq(source + BURST), target.eq(target + BURST),
                    ]  # fmt: skip
                    m.next = "ADDRESS"
                    with m.If(left == 1):
                        m.next = "IDLE"
        return m
