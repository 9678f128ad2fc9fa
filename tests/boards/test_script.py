"""The build script, run in a Tcl interpreter in which Vivado's commands say what they were told."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest

from tailrace_hw.boards.board import CORE_HZ, MAC_HZ
from tailrace_hw.boards.constraints import CLOCK_PINS, pins
from tailrace_hw.boards.crossings import board_crossings
from tailrace_hw.boards.files import BOARDS
from tailrace_hw.config import Config
from tailrace_hw.lib.crossing import Kind

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints"

ORDER = [
    "create_project", "create_ip", "generate_target", "synth_ip", "read_verilog", "create_clock",
    "synth_design", "set_max_delay", "set_bus_skew", "opt_design", "place_design", "route_design",
    "report_utilization", "report_timing_summary", "report_bus_skew", "report_cdc",
    "report_clock_interaction", "report_methodology", "report_drc", "get_timing_paths",
    "write_bitstream",
]  # fmt: skip


@pytest.fixture
def vivado():
    return pytest.importorskip("tailrace_sim.vivado_stub", reason="needs python3-tk, for its Tcl")


@pytest.fixture(params=BOARDS)
def folder(request, tmp_path):
    return Path(shutil.copytree(CONSTRAINTS / request.param, tmp_path / request.param))


def bits(path: str, width: int) -> str:
    return f"{path}_reg[*]" if width > 1 else f"{path}_reg"


def needed(listed) -> set[str]:
    """What must be in the netlist: clocks, and of each crossing the registers on both sides."""
    found = set(CLOCK_PINS.values())
    for entry in listed:
        found |= {bits(stage, entry.width) for stage in entry.stages}
        if entry.kind is Kind.MEMORY:
            found |= {f"{source.name}_reg*" for source in entry.foreign}
        elif entry.kind is not Kind.RESET:
            found |= {bits(source.name, entry.width) for source in entry.foreign}
    return found


def ip_properties(run, module: str) -> dict[str, str]:
    """What is set for an IP, which goes by ``CONFIG.``."""
    found = {}
    for call in run.named("set_property"):
        if call[0] == "-dict" and call[-1] == module:
            words = re.findall(r"\{([^{}]*)\}|(\S+)", call[1])
            flat = [first or second for first, second in words]
            found |= dict(zip(flat[::2], flat[1::2], strict=True))
    return {name.removeprefix("CONFIG."): value for name, value in found.items()}


def megahertz(properties: dict[str, str], name: str) -> float:
    return float(re.sub(r"_MHz$", "", properties.get(name, "0")))


def ip_complaints(run, board) -> list[str]:
    """Where an IP's clocks and sites are not the board's."""
    pcie, mac = ip_properties(run, f"{board.pcie_ip}_0"), ip_properties(run, "cmac_usplus_0")
    # Not written: 100 MHz is what the IP takes a slot's clock for.
    slot = megahertz({"REF_CLK_FREQ": "100_MHz", **pcie}, "REF_CLK_FREQ")
    wanted = [
        ("pcie reference clock", slot, board.pcie_clock.hz / 1e6),
        ("pcie user clock", megahertz(pcie, "axisten_freq"), CORE_HZ / 1e6),
        ("pcie site", pcie.get("pcie_blk_locn"), board.pcie_site),
        ("pcie speed", pcie.get("PL_LINK_CAP_MAX_LINK_SPEED"), "8.0_GT/s"),
        ("pcie lanes", pcie.get("PL_LINK_CAP_MAX_LINK_WIDTH"), "X16"),
        ("pcie width", pcie.get("axisten_if_width"), "512_bit"),
        ("mac reference clock", megahertz(mac, "GT_REF_CLK_FREQ"), board.mac_clock.hz / 1e6),
        ("mac start-up clock", megahertz(mac, "GT_DRP_CLK"), board.free_hz / 1e6),
        ("mac site", mac.get("CMAC_CORE_SELECT"), board.mac_site),
        ("mac mode", (mac.get("CMAC_CAUI4_MODE"), mac.get("NUM_LANES")), ("1", "4x25")),
    ]
    wanted += [
        (f"mac lane {k}", mac.get(f"LANE{k}_GT_LOC"), channel)
        for k, channel in enumerate(board.mac_channels, 1)
    ]
    return [f"{what}: {found}" for what, found, right in wanted if found != right]


def read_complaints(run, board, listed) -> list[str]:
    """Files, and what they bring, that are not read, or on the wrong side of synthesis."""
    synthesis = [call[0] for call in run.calls].index("synth_design")
    before, after = run.calls[:synthesis], run.calls[synthesis:]
    files = [{Path(c[-1]).name for c in half if c[0] == "read_xdc"} for half in (before, after)]
    placed = {call[-1] for call in before if "PACKAGE_PIN" in str(call)}
    marked = sum(call[1] in ("ASYNC_REG", "DONT_TOUCH") for call in before if len(call) > 2)
    timed = [
        sum(c[0] in ("set_max_delay", "set_bus_skew") for c in half) for half in (before, after)
    ]
    kinds = [entry.kind for entry in listed]
    marks = sum(len(entry.stages) for entry in listed) + sum(
        len(entry.foreign) for entry in listed if entry.kind not in (Kind.MEMORY, Kind.RESET)
    )
    facts = [
        ("read before synthesis", files[0], {"pins.xdc", "clocks.xdc", "synchronisers.xdc"}),
        ("read after synthesis", files[1], {"cdc.xdc"}),
        ("ports placed", placed, set(pins(board))),
        ("clocks at pins", sum(call[0] == "create_clock" for call in before), 3),
        ("registers marked", marked, marks),
        ("limits before synthesis", timed[0], 0),
        ("limits", timed[1], sum(k is not Kind.RESET for k in kinds) + kinds.count(Kind.GRAY)),
    ]
    return [f"{what}: {found}" for what, found, right in facts if found != right]


def complaints(run, board, listed) -> list[str]:
    """All that a finished run has not done."""
    ran = [call[0] for call in run.calls]
    missing = [name for name in ORDER if name not in ran]
    if missing:
        return [f"{name} is missing" for name in missing]
    at = [ran.index(name) for name in ORDER]
    found = ["out of order"] if at != sorted(at) else []
    if run.named("create_project") != [("-in_memory", "-part", board.part)]:
        found.append("project")
    if [call[call.index("-part") + 1] for call in run.named("synth_design")] != [board.part]:
        found.append("part of synthesis")
    made = {call[call.index("-name") + 1] for call in run.named("create_ip")}
    if made != {board.pcie_ip, "cmac_usplus"}:
        found.append(f"IPs: {made}")
    (files,) = run.named("read_verilog")[0]
    if [Path(file).name for file in files.split()] != ["tailrace.v", f"{board.top}.v"]:
        found.append(f"Verilog: {files}")
    reports = [call[-1] for call in run.calls if call[0].startswith("report_")]
    if len(set(reports)) != len(reports):
        found.append("one report over another")
    return [*found, *read_complaints(run, board, listed), *ip_complaints(run, board)]


def test_the_script_runs_to_the_bitstream(vivado, folder):
    board = BOARDS[folder.name]
    run = vivado.VivadoStub()
    run.source(folder / "build.tcl")
    assert not complaints(run, board, board_crossings(board, Config()))
    # The frequency of the crossings' limits is what a CMAC of 100 Gb/s has, whatever its reference.
    assert 100e9 * 66 / 64 / 320 == MAC_HZ


FAULTS = {
    "pins.xdc not read": (r"foreach name \{pins ", "foreach name {"),
    "clocks.xdc not read": (r"\{pins clocks ", "{pins "),
    "synchronisers.xdc not read": (r" synchronisers\}", "}"),
    "cdc.xdc not read": (r"(?m)^read_xdc -unmanaged.*\n", ""),
    "cdc.xdc read too early": (r" synchronisers\}", " synchronisers cdc}"),
    "generate_target": (r"(?m)^generate_target.*\n", ""),
    "generate_target too late": (r"(generate_target.*\n)(synth_ip.*\n)", r"\2\1"),
    "synth_ip": (r"(?m)^synth_ip.*\n", ""),
    **{f"report_{name}": (rf"(?m)^report_{name}.*\n", "") for name in
       ("utilization", "timing_summary", "bus_skew", "cdc", "clock_interaction", "methodology",
        "drc")},
    "a report over another": (r"bus_skew\.rpt", "cdc.rpt"),
    **{f"{name} left out": (rf"(?m)^    CONFIG\.{name} .*\n", "") for name in
       ("GT_REF_CLK_FREQ", "GT_DRP_CLK", "axisten_freq", "CMAC_CORE_SELECT", "LANE3_GT_LOC",
        "pcie_blk_locn", "NUM_LANES", "PL_LINK_CAP_MAX_LINK_SPEED")},
    "GT_REF_CLK_FREQ of another card": (r"(GT_REF_CLK_FREQ) \{.*?\}", r"\1 {322.265625}"),
    "GT_DRP_CLK undivided": (r"(GT_DRP_CLK) \{.*?\}", r"\1 {300.00}"),
    "axisten_freq": (r"(axisten_freq) \{250\}", r"\1 {125}"),
    "a slot of 250 MHz": (r"CONFIG\.axisten_freq", r"CONFIG.REF_CLK_FREQ {250_MHz} \g<0>"),
    "part": (r"(synth_design.* -part) \S+", r"\1 xcvu9p"),
}  # fmt: skip


def test_a_fault_in_the_script_is_noticed(vivado, folder):
    board = BOARDS[folder.name]
    listed = board_crossings(board, Config())
    script = folder / "build.tcl"
    right, unnoticed = script.read_text(), []
    for what, change in FAULTS.items():
        wrong = re.sub(*change, right)
        assert wrong != right, what
        script.write_text(wrong)
        run = vivado.VivadoStub()
        run.source(script)
        unnoticed += [] if complaints(run, board, listed) else [what]
    assert not unnoticed


def passed_over(vivado, script, listed) -> set[str]:
    """Names without which the script runs on to the placer."""
    found = set()
    for name in needed(listed):
        run = vivado.VivadoStub(missing=[name])
        with contextlib.suppress(vivado.TclError):
            run.source(script)
        if run.named("place_design"):
            found.add(name)
    return found


def test_whatever_is_gone_ends_the_script(vivado, folder):
    listed = board_crossings(BOARDS[folder.name], Config())
    assert len(needed(listed)) > 40
    assert not passed_over(vivado, folder / "build.tcl", listed)


def test_a_requirement_left_out_is_noticed(vivado, folder):
    listed = board_crossings(BOARDS[folder.name], Config())
    script = folder / "build.tcl"
    text = script.read_text()
    victims = ["/fetched_gray_reg[*]}", "/lost/i_toggle_reg}", "{mac_start/tx_enable_reg}",
               "/storage_reg*}", "{port0_reset/stage1_reg}", "{init_divider/O}"]  # fmt: skip
    for victim in victims:
        lines = text.splitlines(keepends=True)
        less = [line for line in lines if not (line.startswith("require") and victim in line)]
        assert len(less) < len(lines), victim
        script.write_text("".join(less))
        assert passed_over(vivado, script, listed), victim


@pytest.mark.parametrize("slack", [(-0.001, 0.1), (0.1, -0.5)])
def test_negative_slack_ends_the_script(vivado, folder, slack):
    run = vivado.VivadoStub(slack=slack)
    with pytest.raises(vivado.TclError, match="timing is not met"):
        run.source(folder / "build.tcl")
    assert run.named("report_timing_summary")
    assert not run.named("write_bitstream")


def test_an_unknown_command_is_noticed(vivado, tmp_path):
    script = tmp_path / "x.xdc"
    script.write_text("set_max_dealy 3\n")
    with pytest.raises(vivado.TclError, match="set_max_dealy"):
        vivado.VivadoStub().source(script)
