"""The rules of the house that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for part in ("hw", "sim", "sw", "tests") for path in (ROOT / part).rglob("*.py")
)
#: Who may not import whom: the first match of the folder counts.
FORBIDDEN = {
    "hw/tailrace_hw": {"tailrace_sim", "tailrace", "cocotb", "scapy"},
    "sim/tailrace_sim/models": {"tailrace_hw", "tailrace_sim.bfm", "cocotb", "amaranth"},
    "sw/tailrace": {"tailrace_hw", "tailrace_sim", "cocotb", "amaranth"},
}
LONGEST = 400


def imports(path: Path) -> set[str]:
    """Names of the modules a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def breaks(folder: str, module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in FORBIDDEN[folder])


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"nothing to check in {folder}"
    # A model may use another model: `tailrace_sim.models` is not among the forbidden.
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imports(path)
        if breaks(folder, module)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_import_check_can_fail(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from tailrace_hw.config import A\n    import cocotb.clock\n")
    assert {m for m in imports(path) if breaks("sw/tailrace", m)} == {
        "tailrace_hw.config", "cocotb.clock",
    }  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_idea(path):
    count = len(path.read_text().splitlines())
    assert count <= LONGEST, f"{path.relative_to(ROOT)} has {count} lines, {LONGEST} at most"


def test_gateware_does_not_postpone_annotations():
    """`from __future__ import annotations` turns Amaranth's port annotations into text."""
    wrong = [
        path
        for path in SOURCES
        if path.is_relative_to(ROOT / "hw")
        and "from __future__ import annotations" in path.read_text()
    ]
    assert not wrong


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_ruff_is_clean():
    result = run_tool("ruff", "check", "hw", "sim", "sw", "tests")
    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_is_clean():
    result = run_tool("mypy")
    assert result.returncode == 0, result.stdout + result.stderr
