"""Constraints: fresh, complete, and naming what the gateware's list names."""

import re
from pathlib import Path

import pytest

from tailrace_hw.boards.board import CORE_HZ, MAC_HZ
from tailrace_hw.boards.constraints import CLOCK_PINS, pins
from tailrace_hw.boards.crossings import board_crossings
from tailrace_hw.boards.files import BOARDS, constraint_files, top_text
from tailrace_hw.boards.pcie_block import pcie_properties
from tailrace_hw.config import Config, ConfigError, PcieConfig, VirtioNetConfig
from tailrace_hw.lib.crossing import Kind
from tailrace_hw.top import identities
from tailrace_sim.verilog_modules import modules
from tailrace_sim.xdc import Command, commands

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints"
#: Nanoseconds of the clock domains of the top.
PERIOD = {"sync": 1e9 / CORE_HZ, "port0": int(1e12 / MAC_HZ) / 1000}


@pytest.mark.parametrize("name", BOARDS)
def test_the_files_are_fresh(name):
    fresh = constraint_files(BOARDS[name], Config())
    found = {path.name: path.read_text() for path in (CONSTRAINTS / name).iterdir()}
    stale = sorted(file for file in {*fresh, *found} if fresh.get(file) != found.get(file))
    assert not stale, f"run ./tailrace board {name} --no-verilog -o constraints/{name}: {stale}"


def test_every_board_has_a_folder():
    assert {path.name for path in CONSTRAINTS.iterdir()} == set(BOARDS)


def read(name: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (CONSTRAINTS / name).iterdir()}


# What a file says, and what the list says: facts as tuples, compared as sets


def bits(path: str, width: int) -> str:
    return f"{path}_reg[*]" if width > 1 else f"{path}_reg"


def wanted_timing(crossings) -> set:
    facts = set()
    for entry in crossings:
        if entry.kind is Kind.RESET:
            facts |= {("reset", f"{register}_reg/PRE") for register in entry.registers}
            continue
        (register,) = (bits(name, entry.width) for name in entry.registers)
        period = PERIOD[entry.source]
        if entry.kind is Kind.MEMORY:
            facts.add(("delay", CLOCK_PINS[entry.source], register, period))
            continue
        for source in entry.foreign:
            ends = (bits(source.name, entry.width), register)
            facts.add(("delay", *ends, period))
            if entry.kind is Kind.GRAY:
                facts.add(("skew", *ends, min(PERIOD.values())))
    return facts


def said_timing(text: str) -> set:
    facts = set()
    for command in commands(text):
        if command.name == "set_false_path":
            facts |= {("reset", pin) for pin in command.option("to").objects()}
            continue
        what = {"set_max_delay": "delay", "set_bus_skew": "skew"}[command.name]
        assert what == "skew" or "-datapath_only" in command.words
        start, end = command.option("from"), command.option("to")
        if start.name == "get_clocks":
            start = start.option("of_objects")
        (source,), (target,) = start.objects(), end.objects()
        facts.add((what, source, target, float(command.words[-1])))
    return facts


def wanted_synchronisers(crossings) -> set:
    facts = set()
    for entry in crossings:
        facts |= {("ASYNC_REG", bits(stage, entry.width)) for stage in entry.stages}
        if entry.kind not in (Kind.RESET, Kind.MEMORY):
            facts |= {("DONT_TOUCH", bits(source.name, entry.width)) for source in entry.foreign}
    return facts


def said_synchronisers(text: str) -> set:
    facts = set()
    for command in commands(text):
        name, what, value, cells = command.words
        assert (name, value) == ("set_property", "TRUE")
        assert isinstance(cells, Command)
        (cell,) = cells.objects()
        facts.add((what, cell))
    return facts


@pytest.mark.parametrize("name", BOARDS)
def test_the_files_name_every_crossing(name):
    listed = board_crossings(BOARDS[name], Config())
    files = read(name)
    assert said_timing(files["cdc.xdc"]) == wanted_timing(listed)
    assert said_synchronisers(files["synchronisers.xdc"]) == wanted_synchronisers(listed)


def test_a_forgotten_crossing_is_noticed():
    listed = board_crossings(BOARDS["u250"], Config())
    lines = read("u250")["cdc.xdc"].splitlines()
    timing = [k for k, line in enumerate(lines) if line.startswith(("set_", "if "))]
    assert len(timing) > 15
    for victim in timing:
        without = "\n".join(line for k, line in enumerate(lines) if k != victim)
        assert said_timing(without) != wanted_timing(listed)
    assert said_timing("\n".join(lines)) != wanted_timing(listed[1:])


def test_the_reader_is_strict():
    for text in ("set_property A [get_cells x", 'puts "a b"', "a {b}c", "a; b", "a [b]c"):
        with pytest.raises(ValueError, match=r"never closed|plain word|no space"):
            commands(text)


@pytest.mark.parametrize("name", BOARDS)
def test_the_clocks_are_the_boards(name):
    board = BOARDS[name]
    clocks, paths = {}, set()
    for command in commands(read(name)["clocks.xdc"]):
        if command.name == "create_clock":
            (port,) = command.words[-1].objects()
            clocks[port] = float(command.option("period"))
        else:
            assert command.name == "set_false_path"
            paths |= {(command.words[1], port) for port in command.words[2].objects()}
    expected = {
        "pcie_refclk_p": board.pcie_clock, "init_clk_p": board.free_clock,
        "qsfp0_refclk_p": board.mac_clock,
    }  # fmt: skip
    assert clocks.keys() == expected.keys()
    for port, period in clocks.items():
        # Never slower than it is, and not more than a picosecond faster.
        assert 0 <= 1e9 / expected[port].hz - period < 1e-3
    constants = {("-to", constant) for constant, _, _ in board.constants}
    assert paths == {("-from", "pcie_reset_n"), *constants}


@pytest.mark.parametrize("name", BOARDS)
def test_every_pin_is_placed_once(name):
    board = BOARDS[name]
    top = modules(top_text(board, Config()))[board.top]
    ports = []
    for line in top.lines:
        if match := re.match(r"  (?:input|output) (?:\[(\d+):0\] )?(\w+);", line):
            high, port = match.groups()
            ports += [f"{port}[{k}]" for k in range(int(high) + 1)] if high else [port]
    assert {port.partition("[")[0] for port in ports} == set(top.ports)
    text = read(name)["pins.xdc"]
    placed = {}
    for command in commands(text):
        if command.words[1] == "-dict":
            (port,) = command.words[3].objects()
            assert port not in placed
            placed[port] = command.words[2].split()
    assert sorted(placed) == sorted(ports) == sorted(pins(board))
    locations = [words[1] for words in placed.values()]
    assert len(set(locations)) == len(locations)
    for port, words in placed.items():
        # Transceivers have no I/O standard.
        transceiver = re.match(r"(pcie|qsfp0)_(refclk|rx|tx)_[pn]", port)
        assert ("IOSTANDARD" in words) == (not transceiver), port


def test_the_ip_is_what_the_device_says_it_is():
    config = Config(virtio_net=VirtioNetConfig(queue_pairs=8))
    properties = pcie_properties(BOARDS["u250"], config)
    management, net = identities(config)
    assert properties["TL_PF_ENABLE_REG"] == "2"
    assert properties["vendor_id"] == f"{management.vendor:04X}"
    assert (properties["pf1_vendor_id"], properties["PF1_DEVICE_ID"]) == ("1AF4", "1041")
    assert (properties["PF0_CLASS_CODE"], properties["PF1_CLASS_CODE"]) == ("120000", "020000")
    for number, identity in enumerate((management, net)):
        for bar, size in identity.bar_sizes.items():
            scale = {"Kilobytes": 1024}[properties[f"pf{number}_bar{bar}_scale"]]
            assert int(properties[f"pf{number}_bar{bar}_size"]) * scale == size
        # The capability holds the number of vectors minus one.
        assert int(properties[f"PF{number}_MSIX_CAP_TABLE_SIZE"], 16) + 1 == identity.vectors
        assert properties[f"PF{number}_MSIX_CAP_TABLE_BIR"] == "BAR_3:2"
        assert int(properties[f"PF{number}_MSIX_CAP_PBA_OFFSET"], 16) == 0x4000


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Config(width=256), "board u250 needs width = 512, not 256"),
        (Config(width=1024), "board u250 needs width = 512, not 1024"),
        (Config(pcie=PcieConfig(width=256)), "board u250 needs pcie.width = 512, not 256"),
        (Config(clock_hz=200_000_000), "board u250 needs clock_hz = 250000000, not 200000000"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, reason):
    with pytest.raises(ConfigError, match=reason):
        constraint_files(BOARDS["u250"], config)
