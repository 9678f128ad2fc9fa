"""The fast backend's library as Python sees it."""

from tailrace_sim.fast import library

VERILOG = """\
(* top = 1 *)
module \\top.fifo (i, o);
  assign o = i;
endmodule
module top(clk, o);
  assign o = clk;
endmodule
"""
SYMBOLS = """\
0000000000001000 t Vdevice___024root___nba_sequent__TOP__3__PROF__top__l3(Vdevice___024root*)
0000000000001800 t tailrace::RqSink::drive(unsigned int)
0000000000001080 t Vdevice___024root___ico_sequent__TOP__0__PROF__top__l6(Vdevice___024root*)
0000000000001900 T tr_run
0000000000002000 d tailrace::pin_table
0000000000001100 t Vdevice___024root___eval(Vdevice___024root*)
"""


def test_code_map():
    """Statements belong to the module that they are written in."""
    found = library._code_map(SYMBOLS, VERILOG)
    assert found == [
        (0x1000, "top.fifo"), (0x1080, "top"), (0x1100, "model"), (0x1800, "core"), (0x1900, "")
    ]  # fmt: skip


def test_pins():
    """Names come back as in Verilog; directions and widths as they are."""
    header = """
        VL_IN8(&clk,0,0);
        VL_OUTW(&pcie___05Frq___05Ftdata,511,0,16);
        VL_IN64(&port0___05Frx___05Ftkeep,63,0);
    """
    found = [(pin.name, pin.bits, pin.input) for pin in library._read_pins(header)]
    expected = [("clk", 1, True), ("pcie__rq__tdata", 512, False), ("port0__rx__tkeep", 64, True)]
    assert found == expected
    source = library._pins_source(library._read_pins(header))
    assert "at[1] = &model.pcie___05Frq___05Ftdata;" in source
