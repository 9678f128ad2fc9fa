"""Somebody else's Verilog: every way in which files, parameters and cells come."""

import re
from pathlib import Path

import pytest

from tailrace_sim.synth.flow import Figures, Subject, measure
from tailrace_sim.synth.mapping import FAMILIES
from tailrace_sim.synth.parameters import as_literal
from tailrace_sim.synth.third_party import ThirdParty, read_third_party
from tailrace_sim.synth.yosys import SynthError

#: A register as long as the parameter says; the second form is beyond Yosys's own reader.
PLAIN = """module sized #(parameter W = 4, parameter S = 1, parameter NAME = "none")
    (input clk, output reg [L-1:0] q);
localparam L = (NAME == "hello you" ? 3 : NAME == "" ? 5 : W) + (S < 0 ? 20 : 0);
always @(posedge clk) q <= ~q;
endmodule
"""
MODERN = """module sized #(parameter type T = logic, parameter int W = 4, parameter int S = 1,
               parameter string NAME = "none", parameter int L =
               (NAME == "hello you" ? 3 : NAME == "" ? 5 : W) + (S < 0 ? 20 : 0))
    (input logic clk, output T [L-1:0] q);
always_ff @(posedge clk) q <= ~q;
endmodule
"""
READERS = pytest.mark.parametrize(("suffix", "text"), [("v", PLAIN), ("sv", MODERN)])


def figures(what: ThirdParty, family: str = "xcup") -> Figures:
    design, module = read_third_party(what, FAMILIES[family])
    subject = Subject(what.top, design, module)
    return measure([subject], FAMILIES[family], 0, lambda *_: None)[0]


def registers(what: ThirdParty) -> int:
    """How wide the register at the output is, without mapping."""
    design, module = read_third_party(what, FAMILIES["xcup"])
    width = re.search(r"wire width (\d+) output", design.modules[module].text)
    return int(width[1]) if width else 1


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@READERS
@pytest.mark.parametrize(
    ("parameters", "bits"),
    [({"W": "7"}, 7), ({"W": "0x0b"}, 11), ({"W": "'h9"}, 9), ({"W": "8'd12"}, 12),
     ({"S": "-3"}, 24), ({"NAME": "hello you"}, 3), ({"NAME": '"hello you"', "W": "9"}, 3)],
    ids=str,
)  # fmt: skip
def test_a_parameter_has_the_value_that_was_given(tmp_path, suffix, text, parameters, bits):
    path = put(tmp_path, f"sized.{suffix}", text)
    assert registers(ThirdParty([path], "sized", parameters)) == bits


@READERS
def test_an_unknown_parameter_is_an_error(tmp_path, suffix, text):
    path = put(tmp_path, f"sized.{suffix}", text)
    with pytest.raises(SynthError, match="NOPE"):
        registers(ThirdParty([path], "sized", {"NOPE": "1"}))


def test_numbers_and_strings():
    texts = ["5", "-4", "0x10", "4'b1x", "ab", "", "p::Fast", "a;b", '"q"', str(2**40)]
    assert [as_literal(text) for text in texts] == [
        "5", "32'shfffffffc", "16", "4'b1x", '"ab"', '""', "p::Fast", '"a\\073b"', '"q"',
        "42'sh10000000000"]  # fmt: skip


@pytest.mark.parametrize("suffix", ["v", "sv"])
def test_a_memory_file_is_found_and_its_content_counts(tmp_path, suffix):
    kind = "parameter type T = logic" if suffix == "sv" else "parameter T = 1"
    source = put(
        tmp_path,
        f"rom.{suffix}",
        f"""module rom #({kind}, parameter FILE = "data/a.hex")
    (input clk, input [3:0] a, output reg [7:0] q);
reg [7:0] m [0:15];
initial $readmemh(FILE, m);
always @(posedge clk) q <= m[a];
endmodule
""",
    )
    texts = []
    for content in ("01 " * 15 + "80\n", "00\n" * 16):
        put(tmp_path, "data/a.hex", content)
        design, module = read_third_party(ThirdParty([source], "rom"), FAMILIES["xcup"])
        texts.append(design.modules[module].text)
    assert texts[0] != texts[1]
    other = put(tmp_path, "other.hex", "55 " * 16)
    design, module = read_third_party(
        ThirdParty([source], "rom", {"FILE": str(other)}), FAMILIES["xcup"]
    )
    assert design.modules[module].text not in texts


@READERS
def test_blanks_and_quotes_in_names_of_files_and_folders(tmp_path, suffix, text):
    path = put(tmp_path, f"a b;/o'k $x #1.{suffix}", text)
    other = put(tmp_path, f"c/o'k $x #1.{suffix}", "module another (input a); endmodule\n")
    assert registers(ThirdParty([path, other], "sized", {"W": "6"})) == 6


@READERS
def test_include_folders_and_macros(tmp_path, suffix, text):
    put(tmp_path, "lib dir/deep/w.svh", '`include "../v.svh"\n')
    put(tmp_path, "lib dir/v.svh", "`ifdef ON\n`define VALUE `BASE+1\n`endif\n")
    text = '`include "deep/w.svh"\n' + text.replace("W = 4", "W = `VALUE")
    path = put(tmp_path, f"src/sized.{suffix}", text)
    what = ThirdParty([path], "sized", {}, [tmp_path / "lib dir"], ["ON", "BASE=5'd8"])
    assert registers(what) == 9
    put(tmp_path, "lib dir/v.svh", "`define VALUE `BASE+2\n")
    assert registers(what) == 10
    with pytest.raises(SynthError, match="is not NAME or NAME=VALUE"):
        registers(ThirdParty([path], "sized", {}, [], ["A=1; shell ls"]))
    with pytest.raises(SynthError, match="none is not a folder"):
        registers(ThirdParty([path], "sized", {}, [tmp_path / "none"]))


def test_black_boxes_are_cells_of_unknown_types(tmp_path):
    path = put(
        tmp_path,
        "box.v",
        """(* blackbox *)
module box #(parameter K = 1) (input a, output b); endmodule
(* blackbox *) module unused (input a); endmodule
module user (input clk, input a, output reg b);
wire c, d;
box first (.a(a), .b(c));
box #(.K(2)) second (.a(c), .b(d));
always @(posedge clk) b <= d;
endmodule
""",
    )
    found = figures(ThirdParty([path], "user"))
    assert (found.area.other, found.area.ff, found.area.lut) == (2, 1, 0)


@pytest.mark.parametrize(("family", "cell"), [
    ("xcup", "FDRE f (.C(clk), .CE(1'b1), .R(1'b0), .D(a), .Q(b));"),
    ("ecp5", "TRELLIS_FF f (.CLK(clk), .CE(1'b1), .LSR(1'b0), .DI(a), .Q(b));"),
])  # fmt: skip
def test_primitives_of_the_family_are_known(tmp_path, family, cell):
    path = put(tmp_path, "prim.v", f"module prim (input clk, a, output b); {cell} endmodule\n")
    assert figures(ThirdParty([path], "prim"), family).area.ff == 1
    with pytest.raises(SynthError, match=r"no primitive of .*: add its file"):
        figures(ThirdParty([path], "prim"), {"xcup": "ecp5", "ecp5": "xcup"}[family])


@READERS
def test_a_missing_module_says_what_to_do(tmp_path, suffix, text):
    inside = text.replace("endmodule", "absent u (.a(clk)); endmodule")
    path = put(tmp_path, f"sized.{suffix}", inside)
    with pytest.raises(SynthError, match=r"absent is a module in none of the files.* add its file"):
        registers(ThirdParty([path], "sized"))


def test_assertions_and_printing_are_no_hardware(tmp_path):
    checks = """always @(posedge clk) begin
    assert (d * d != 9); if (d == 5) $display("five %d", d); end
"""
    text = PLAIN.replace("input clk,", "input clk, input [7:0] d,")
    plain = put(tmp_path, "plain.sv", text)
    checked = put(tmp_path, "checked.sv", text.replace("endmodule", checks + "endmodule"))
    modern = MODERN.replace("input logic clk,", "input logic clk, input logic [7:0] d,")
    slang = put(
        tmp_path,
        "slang.sv",
        modern.replace(
            "endmodule", "assert property (@(posedge clk) d * d != 9);\n" + checks + "endmodule"
        ),
    )
    areas = [figures(ThirdParty([path], "sized")).area for path in (plain, checked, slang)]
    assert areas[0] == areas[1] == areas[2]


def test_latches_are_named(tmp_path):
    path = put(tmp_path, "latch.v", "module latch (input en, d, output reg q);\n"
               "always @* if (en) q = d;\nendmodule\n")  # fmt: skip
    assert figures(ThirdParty([path], "latch")).area.latch == 1
    with pytest.raises(SynthError, match="latch has latches, which ECP5 has not"):
        figures(ThirdParty([path], "latch"), "ecp5")


def test_escaped_names(tmp_path):
    path = put(tmp_path, "esc.v", "module \\a.b (input a, output c); assign c = ~a; endmodule\n")
    assert figures(ThirdParty([path], "\\a.b")).area.lut == 1
    for top in ("", "a; shell ls", "\\a;b", "a.b"):
        with pytest.raises(SynthError, match="is not a name in Verilog"):
            figures(ThirdParty([path], top))
