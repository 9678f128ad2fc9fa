"""The list of crossings is what crosses in the Verilog, no more and no less."""

import dataclasses
import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import AsyncFFSynchronizer, FFSynchronizer, PulseSynchronizer
from amaranth.lib.wiring import In, Out

from tailrace_hw.boards.constraints import CLOCK_PINS
from tailrace_hw.boards.crossings import board_boxes, board_crossings
from tailrace_hw.boards.files import BOARDS, constraint_files, top_text
from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_hw.lib.crossing import Kind, crossings
from tailrace_hw.lib.fifo import AsyncFifo
from tailrace_hw.top import Tailrace
from tailrace_hw.verilog import convert
from tailrace_sim.clock_domains import differences, read_netlist
from tailrace_sim.device import NO_CIPHER, device_verilog
from tailrace_sim.verilog_modules import modules, one_clock_only
from tailrace_sim.xdc_names import clock_complaints, clock_pins, name_complaints, names

#: Of the device: the link state, and for each of two queues a memory, two pointers, three for the
#: reset; one pulse.
DEVICE_CROSSINGS = {Kind.LEVEL: 3, Kind.MEMORY: 2, Kind.GRAY: 4, Kind.RESET: 4, Kind.PULSE: 1}


def kinds(found) -> dict[Kind, int]:
    return {kind: sum(entry.kind is kind for entry in found) for kind in Kind}


@pytest.mark.parametrize("name", BOARDS)
def test_the_list_of_a_board_is_what_crosses(name):
    board, config = BOARDS[name], Config()
    listed = board_crossings(board, config)
    assert kinds(listed) == {**DEVICE_CROSSINGS, Kind.RESET: DEVICE_CROSSINGS[Kind.RESET] + 1}
    texts = [device_verilog(config).read_text(), top_text(board, config)]
    netlist = read_netlist(texts, board.top, boxes=board_boxes(board, config))
    assert len(netlist.edges) >= len(listed)
    assert not differences(netlist, listed)
    files = constraint_files(board, config)
    for file, text in files.items():
        assert names(text), file
        assert not name_complaints(netlist, names(text)), file
    for file in ("cdc.xdc", "build.tcl"):
        assert not clock_complaints(netlist, files[file], listed)


def around(board, change=None):
    """The netlist of the top with the device as a block."""
    text = top_text(board, Config())
    changed = re.sub(*change, text) if change else text
    assert change is None or changed != text
    return read_netlist([changed], board.top, boxes=board_boxes(board, Config()))


def complaints_around(netlist, files) -> list[str]:
    """What does not hold of the top's own names; the device is not looked into."""
    asked = {entry for text in files.values() for entry in names(text)}
    own = {(kind, name) for kind, name in asked if not name.startswith("device/")}
    clocks = (clock_complaints(netlist, files[file], []) for file in ("cdc.xdc", "build.tcl"))
    return [*name_complaints(netlist, own), *(line for lines in clocks for line in lines)]


@pytest.mark.parametrize("name", BOARDS)
def test_the_clocks_come_out_where_the_constraints_say(name):
    board = BOARDS[name]
    netlist = around(board)
    assert clock_pins(netlist, ("sync", "port0", "init")) == CLOCK_PINS
    divider = netlist.module["cells"]["init_divider"]["parameters"]["BUFGCE_DIVIDE"]
    assert int(divider, 2) == board.free_divide
    assert not complaints_around(netlist, constraint_files(board, Config()))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ((r"(?m)^(  cmac_usplus_0) mac \(", r"\1 cmac ("), "pins mac/gt_txusrclk2"),
        ((r"\) init_divider \(", ") init_div ("), "pins init_divider/O"),
        ((r"(?m)^(  pcie4_uscale_plus_0) pcie \(", r"\1 slot ("), "pins pcie/user_clk"),
        ((r" port0_reset \(", " mac_reset_0 ("), "pins port0_reset/stage0_reg/PRE"),
        ((r" mac_start \(", " start ("), "cells mac_start/tx_enable_reg"),
        ((r"\bqsfp0_lpmode\b", "qsfp0_lp"), "ports qsfp0_lpmode"),
        ((r"posedge init_clk", "posedge init_clk_p"), "clocks of ['init', 'port0', 'sync']"),
        ((r"\.user_clk\(clk\)", ".user_clk(init_clk)"), "pcie/user_clk is not the clock of sync"),
    ],
    ids=lambda text: str(text) if isinstance(text, str) else "",
)
def test_a_name_that_is_not_in_the_top_is_noticed(change, complaint):
    board = BOARDS["u250"]
    found = complaints_around(around(board, change), constraint_files(board, Config()))
    assert any(line.startswith(complaint) for line in found), found


@pytest.mark.parametrize(
    ("file", "name", "wrong"),
    [
        ("cdc.xdc", "mac/gt_txusrclk2", "pcie/user_clk"),
        ("build.tcl", "init_divider/O", "init_divider/I"),
        ("cdc.xdc", "port0_reset/stage2_reg/PRE", "port0_reset/stage2_reg/CLR"),
        ("cdc.xdc", "port0_reset/stage2_reg/PRE", "port0_reset/stage3_reg/PRE"),
        ("synchronisers.xdc", "mac_start/tx_enable_reg", "mac_start/tx_enable_reg[*]"),
        ("pins.xdc", "pcie_rx_p[15]", "pcie_rx_p[16]"),
        ("clocks.xdc", "init_clk_p", "init_clk"),
    ],
)
def test_a_wrong_name_in_a_file_is_noticed(file, name, wrong):
    board = BOARDS["u250"]
    files = constraint_files(board, Config())
    assert f"{name}" in files[file]
    files[file] = files[file].replace(name, wrong)
    found = complaints_around(around(board), files)
    assert any(wrong in line for line in found), found


def test_a_query_of_another_form_is_refused():
    with pytest.raises(ValueError, match="get_"):
        names("set_false_path -to [get_pins -hierarchical *stage0*]")


def test_the_list_of_the_device_is_what_crosses():
    # The cipher engine has one clock, and is in the boards' lists above.
    config = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
    listed = crossings(Tailrace(config)).crossings
    assert kinds(listed) == DEVICE_CROSSINGS
    text = device_verilog(config).read_text()
    (ports,) = (module.inputs for module in modules(text).values() if module.name == "tailrace")
    clocks = {name: "port0_clk" if name.startswith("port0_") else "clk" for name in ports}
    del clocks["port0__link"]
    netlist = read_netlist([text], "tailrace", inputs=clocks)
    assert not differences(netlist, listed)


class Mixed(wiring.Component):
    """A crossing of each kind, and with ``planted`` one that has no synchroniser."""

    x: In(4)
    y: Out(1)
    z: Out(1)
    p: Out(1)
    r: Out(1)
    q: Out(4)

    def __init__(self, planted: bool = False):
        self._planted = planted
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(4)
        level = Signal()
        away = Signal()
        m.d.fast += [count.eq(count + self.x), level.eq(count == 3)]
        m.submodules.level = FFSynchronizer(level, self.y, o_domain="slow")
        m.submodules.pulse = pulse = PulseSynchronizer("fast", "slow")
        m.submodules.queue = queue = AsyncFifo(4, 8, i_domain="fast", o_domain="slow")
        m.submodules.reset = AsyncFFSynchronizer(level, self.r, o_domain="slow")
        m.d.comb += [
            pulse.i.eq(count == 5), self.p.eq(pulse.o), queue.i.payload.eq(count),
            queue.i.valid.eq(1), queue.o.ready.eq(1), self.q.eq(queue.o.payload), self.z.eq(away),
        ]  # fmt: skip
        m.d.slow += away.eq(level & count[1] if self._planted else self.y)
        return m


def mixed(planted: bool):
    inputs = {"x": "fast_clk", "fast_rst": "fast_clk", "slow_rst": "slow_clk"}
    return read_netlist([convert(Mixed(planted), "mixed")], "mixed", inputs=inputs)


def test_every_kind_is_found():
    listed = crossings(Mixed(), {"x": "fast"}).crossings
    assert {kind for kind, count in kinds(listed).items() if count} == set(Kind)
    assert {entry.sink for entry in listed} == {"fast", "slow"}
    assert not differences(mixed(planted=False), listed)


def test_an_unsynchronised_crossing_is_noticed():
    listed = crossings(Mixed(planted=True), {"x": "fast"}).crossings
    complaints = differences(mixed(planted=True), listed)
    assert len(complaints) == 2
    assert all("crosses and is not listed" in line for line in complaints)
    assert {line.split()[0] for line in complaints} == {"level", "count"}
    assert all("reaches away" in line or "reaches z" in line for line in complaints)


def test_a_crossing_that_is_not_there_is_noticed():
    listed = crossings(Mixed(), {"x": "fast"}).crossings
    level = next(entry for entry in listed if entry.name.startswith("level"))
    moved = dataclasses.replace(level, registers=("pulse/r_toggle",))
    gone = dataclasses.replace(level, registers=("nowhere/stage7",))
    complaints = differences(mixed(planted=False), [*listed, moved, gone])
    assert any("is listed and does not cross" in line for line in complaints)
    assert any("is not in the Verilog" in line for line in complaints)
    assert len(complaints) == 2


def test_a_reset_as_a_level_is_noticed():
    """The same registers, but timed in the wrong way."""
    listed = crossings(Mixed(), {"x": "fast"}).crossings
    wrong = [
        dataclasses.replace(entry, kind=Kind.LEVEL) if entry.name.startswith("reset") else entry
        for entry in listed
    ]
    assert len(differences(mixed(planted=False), wrong)) == 4


def test_what_is_left_out_has_one_clock():
    """Soundness of the short cut: a module with two clocks, or with a reset of its own, is kept."""
    text = """module two (a, b, d, q);
  input a;
  input b;
  always @(posedge a) x <= d;
  always @(posedge b) q <= x;
endmodule
module one (a, d, q);
  input a;
  always @(posedge a) q <= d;
endmodule
module outer (a, b, d, q);
  input a;
  input b;
  one first (
    .a(a),
    .q(q)
  );
  one second (
    .a(b),
    .q(q)
  );
endmodule
module set (a, r, q);
  input a;
  input r;
  always @(posedge a, posedge r) q <= 1;
endmodule
module inner (a, q);
  input a;
  wire same;
  assign same = a;
  one only (
    .a(same),
    .q(q)
  );
endmodule
module foreign (a, q);
  input a;
  unknown only (
    .a(a),
    .q(q)
  );
endmodule
module none (d, q);
  input d;
  assign q = d;
endmodule
"""
    assert one_clock_only(modules(text)) == {"one": "a", "inner": "a"}
