"""What is generated is fresh, and complete."""

import re
import subprocess
from pathlib import Path

from tailrace_hw import regs, regs_export
from tailrace_hw.address_map import MANAGEMENT_BLOCKS
from tailrace_hw.errors import ErrorCode
from tailrace_hw.mgmt.error_collector import CODES

ROOT = Path(__file__).resolve().parents[2]


def test_register_files_are_fresh():
    stale = regs_export.stale()
    assert not stale, f"run ./tailrace regs; out of date: {stale}"


def test_a_stale_file_is_noticed(tmp_path, monkeypatch):
    changed = regs_export.artefacts()
    monkeypatch.setattr(regs_export, "_ROOT", tmp_path)
    monkeypatch.setattr(regs_export, "artefacts", lambda: changed)
    for path, text in changed.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    assert regs_export.stale() == []
    victim = next(iter(changed))
    (tmp_path / victim).write_text("# edited by hand\n")
    assert regs_export.stale() == [victim]
    (tmp_path / victim.parent / "left_over.py").write_text("")
    assert len(regs_export.stale()) == 2


def test_c_headers_compile_together(tmp_path):
    """Under a strict compiler, in one file, with every name our own."""
    headers = sorted((ROOT / "sw" / "include").glob("*.h"))
    assert len(headers) > len(MANAGEMENT_BLOCKS)
    for header in headers:
        text = header.read_text()
        names = re.findall(r"^#define (\w+)|^\} (\w+);", text, re.MULTILINE)
        assert names
        foreign = [a or b for a, b in names if not (a or b).lower().startswith("tailrace_")]
        assert foreign == [], header
    source = tmp_path / "all.c"
    includes = "".join(f'#include "{header.name}"\n' for header in headers)
    source.write_text(
        f"{includes}#include <stddef.h>\n"
        'static_assert(TAILRACE_ERRORS_BASE == 0x400, "base");\n'
        f'static_assert(offsetof(tailrace_errors_t, count) == {_offset("count"):#x}, "count");\n'
    )
    for compiler in (["gcc", "-std=c11"], ["g++", "-std=c++17", "-x", "c++"]):
        command = [*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
        command += [f"-I{ROOT / 'sw' / 'include'}", str(source)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def _offset(register: str) -> int:
    return regs.load("mgmt/errors.rdl")[register].address


def test_pages_have_the_addresses_that_a_host_sees():
    page = (ROOT / "docs" / "registers" / "errors.md").read_text()
    section = page[page.index("### count register") :]
    assert f"Address: {0x400 + _offset('count'):#x} in BAR 0 of the management" in section
    assert "Absolute" not in page


def test_every_block_has_a_window_to_itself():
    ends = 0
    for block in MANAGEMENT_BLOCKS:
        assert block.base >= ends, f"{block.name} overlaps its predecessor"
        ends = block.base + regs.load(block.source).size


def test_every_register_is_described():
    maps = [regs.load(str(path.relative_to(regs.GATEWARE))) for path in regs.sources()]
    assert maps
    for registers in maps:
        for register in registers.registers:
            assert register.description != register.name, f"{registers.name}.{register.name}"
            for field in register.fields:
                assert field.description, f"{registers.name}.{register.name}.{field.name}"


def test_error_codes_fit_the_collector():
    assert max(code.value for code in ErrorCode) < CODES
