"""The top of a board: its Verilog fits the device and the blocks around it."""

import os
import re
import subprocess

import pytest

from tailrace_hw import emit
from tailrace_hw.boards.blackbox import BlackBox, Port, ports
from tailrace_hw.boards.crossings import board_boxes
from tailrace_hw.boards.files import BOARDS, top_text, write_board
from tailrace_hw.config import Config
from tailrace_hw.verilog import VerilogError, yosys
from tailrace_sim.build import toolchain_env
from tailrace_sim.device import device_verilog
from tailrace_sim.verilog_modules import modules


def shells(board) -> str:
    """Everything that the top instantiates, the device as its own Verilog declares its ports."""
    device = modules(device_verilog(Config()).read_text())["tailrace"].shell()
    boxes = [box.verilog() for box in board_boxes(board, Config()) if box.module != "tailrace"]
    return "\n".join((device, *boxes))


def lint(board, shell: str, folder) -> str:
    """Verilator's complaints; widths and drivers count here, unlike in what Yosys makes."""
    strict = ("WIDTH", "UNDRIVEN")
    waivers = [line for line in emit.waiver_text().splitlines()
               if not any(rule in line for rule in strict)]  # fmt: skip
    (folder / "waivers.vlt").write_text("\n".join(waivers) + "\n")
    quiet = "// verilator lint_off UNDRIVEN\n// verilator lint_off UNUSEDPARAM\n"
    (folder / "shells.v").write_text(quiet + shell)
    (folder / "top.v").write_text(top_text(board, Config()))
    result = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", board.top, "waivers.vlt", "shells.v",
         "top.v"],
        cwd=folder, env={**os.environ, **toolchain_env()}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return result.stderr + result.stdout if result.returncode else ""


@pytest.fixture(params=BOARDS)
def board(request):
    return BOARDS[request.param]


def test_the_top_is_clean_under_wall(board, tmp_path):
    complaints = lint(board, shells(board), tmp_path)
    assert not complaints, complaints[:2000]


@pytest.mark.parametrize(
    ("port", "wrong"),
    [
        ("input wire [136:0] s_axis_rq_tuser", "input wire [135:0] s_axis_rq_tuser"),
        ("output wire [182:0] m_axis_cq_tuser", "output wire [183:0] m_axis_cq_tuser"),
        ("output wire [511:0] rx_axis_tdata", "output wire [255:0] rx_axis_tdata"),
        ("input [160:0] pcie__rc__tuser", "input [74:0] pcie__rc__tuser"),
        ("output wire rx_axis_tvalid", "input wire rx_axis_tvalid"),
        ("output wire cfg_ext_write_received", "output wire cfg_ext_wr_received"),
    ],
    ids=lambda text: text.split()[-1],
)
def test_a_port_that_differs_is_noticed(port, wrong, tmp_path):
    board = BOARDS["u250"]
    text = shells(board)
    name = port.split()[-1]
    changed = text.replace(port, wrong).replace(f"  wire [160:0] {name};\n", "")
    assert changed != text
    # A block that no longer drives a signal shows in the signal, which has the stream's name.
    assert name.removeprefix("rx_axis_") in lint(board, changed, tmp_path)


def wiring(board) -> dict[str, dict[str, str]]:
    """By instance's module and port: the wire on it."""
    top = modules(top_text(board, Config()))[board.top]
    return {
        module: {port: top.resolve(wire) for port, wire in connections.items()}
        for module, connections in top.instances
    }


def unlike(board, wires) -> list[str]:
    """Ports of the device that are not joined to the block's port of the same meaning.

    Streams have equal widths, so that a linter does not see two of them exchanged.
    """
    pcie, device = wires[f"{board.pcie_ip}_0"], wires["tailrace"]
    mac = wires["cmac_usplus_0"]
    pairs = {}
    for stream, prefix in (("rq", "s_axis"), ("rc", "m_axis"), ("cq", "m_axis"), ("cc", "s_axis")):
        for member in ("tdata", "tkeep", "tlast", "tvalid", "tuser", "tready"):
            pairs[f"pcie__{stream}__{member}"] = pcie[f"{prefix}_{stream}_{member}"]
    for port in device:
        if port.startswith("pcie__") and port not in pairs:
            pairs[port] = pcie[port.removeprefix("pcie__").replace("__", "_")]
    for member in ("tdata", "tkeep", "tlast", "tvalid", "tuser"):
        pairs[f"port0__rx__{member}"] = mac[f"rx_axis_{member}"]
    pairs |= {"clk": pcie["user_clk"], "port0_clk": mac["gt_txusrclk2"]}
    wrong = []
    for port, wire in pairs.items():
        # Of four copies of tready one is used.
        if device[port] not in (wire, f"{wire}[0]"):
            wrong.append(port)
    assert len(pairs) > 50
    return wrong


def test_every_port_of_the_device_meets_its_own(board):
    wires = wiring(board)
    assert not unlike(board, wires)
    assert wires["cmac_usplus_0"]["rx_clk"] == wires["tailrace"]["port0_clk"]
    device = wires["tailrace"]
    device["pcie__rc__tdata"], device["pcie__cq__tdata"] = (
        device["pcie__cq__tdata"], device["pcie__rc__tdata"],
    )  # fmt: skip
    assert unlike(board, wires) == ["pcie__rc__tdata", "pcie__cq__tdata"]


def test_the_hierarchy_is_complete(board, tmp_path):
    (tmp_path / "all.v").write_text(shells(board) + top_text(board, Config()))
    yosys([f"read_verilog {tmp_path / 'all.v'}", f"hierarchy -check -top {board.top}"])
    without = re.sub(r"module IBUF \(.*?endmodule", "", (tmp_path / "all.v").read_text(),
                     flags=re.DOTALL)  # fmt: skip
    (tmp_path / "less.v").write_text(without)
    with pytest.raises(VerilogError, match="IBUF"):
        yosys([f"read_verilog {tmp_path / 'less.v'}", f"hierarchy -check -top {board.top}"])


def test_a_box_refuses_what_it_has_not():
    box = BlackBox("thing", ports("i a 3\no b 1\ni c 2 =1\n"))
    assert box.port("c") == Port("c", "i", 2, idle=1)
    with pytest.raises(ValueError, match="thing has no port d"):
        box.instance({"d": 1})
    with pytest.raises(ValueError, match="a has 3 bits, the signal 1"):
        box.instance({"a": 1})


def test_the_files_of_a_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("tailrace_hw.boards.files.verilog_text", lambda _: "module tailrace; ...\n")
    board = BOARDS["u55c"]
    names = {path.name for path in write_board(board, Config(), tmp_path / "new")}
    assert names == {
        "pins.xdc", "clocks.xdc", "synchronisers.xdc", "cdc.xdc", "build.tcl",
        "tailrace.v", "tailrace_u55c.v", "tailrace_u55c.f",
    }  # fmt: skip
    listed = (tmp_path / "new" / "tailrace_u55c.f").read_text().split()
    assert set(listed) < names
