"""What is generated is fresh, and complete."""

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
