"""What the pages say exists: links, commands, files, benches."""

import fnmatch
import gc
import re
import tomllib
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from amaranth.hdl import UnusedElaboratable

from tailrace.regs.job_memory import JobStatus
from tailrace_hw.config import Config
from tailrace_hw.top import Tailrace

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "registers"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if GENERATED not in path.parents),
]
#: First folders of a path in the repository.
FOLDERS = ("hw", "sim", "sw", "tests", "docs", ".ci")
#: The block that docs/adding-a-block.md adds, and the test that docs/simulation.md writes.
EXAMPLES = ("shaper", "tests/system/test_echo.py", "tests/system/echo_cocotb.py")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def broken_links(page: Path, text: str) -> list[str]:
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)) + re.findall(r'src="([^"]+)"', text)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


def unknown_verbs(text: str) -> set[str]:
    verbs = {entry.name for entry in entry_points(group="tailrace.verbs")}
    return set(re.findall(r"\./tailrace ([a-z][\w-]*)", text)) - verbs


def missing_files(text: str) -> list[str]:
    """Paths in backticks that begin with a folder of the repository and do not exist.

    Those of tests and of packages must begin with one.
    """
    missing = []
    for name in re.findall(r"`([^`\s]+)`", FENCE.sub("", text)):
        if re.match(r"test_\w+\.py$|tailrace_(hw|sim)/", name):
            missing.append(name)
        if name.partition("/")[0] not in FOLDERS or "/" not in name:
            continue
        if any(example in name for example in EXAMPLES) or re.search(r"[<*{]", name):
            continue
        if not (ROOT / name).exists():
            missing.append(name)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page):
    text = page.read_text()
    assert not broken_links(page, text)
    assert not unknown_verbs(text)
    assert not missing_files(text)


def test_the_checks_can_fail():
    page = ROOT / "docs" / "README.md"
    assert broken_links(page, "[a](nothing.md) [b](README.md#nothing) [c](README.md)") == [
        "nothing.md", "README.md#nothing",
    ]  # fmt: skip
    assert unknown_verbs("`./tailrace demo`, `./tailrace dance`") == {"dance"}
    assert missing_files("`hw/tailrace_hw/top.py` and `hw/tailrace_hw/bottom.py`") == [
        "hw/tailrace_hw/bottom.py"
    ]
    assert missing_files("`tailrace_hw/top.py`, `test_docs.py`, `test_docs`, `top.py`") == [
        "tailrace_hw/top.py", "test_docs.py",
    ]  # fmt: skip


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    missing = [str(page) for page in pages if f"({page})" not in index]
    assert missing == ["README.md"]


def test_every_bench_is_in_the_status():
    status = (ROOT / "docs" / "status.md").read_text()
    benches = sorted((ROOT / "tests" / "bench").glob("bench_*.py"))
    assert benches
    names = [path.stem.removeprefix("bench_") for path in benches]
    missing = [name for name in names if f"| `{name}` |" not in status]
    assert not missing, f"no line in docs/status.md, Benches: {', '.join(missing)}"


def test_every_proof_is_in_the_status():
    page = (ROOT / "docs" / "status.md").read_text()
    proofs = page[page.index("\n### Proofs\n") : page.index("\n### Benches\n")]
    files = sorted((ROOT / "tests" / "formal").glob("test_*.py"))
    assert files
    missing = [path.name for path in files if f"`tests/formal/{path.name}` |" not in proofs]
    assert not missing, f"no line in docs/status.md, Proofs: {', '.join(missing)}"


def test_every_status_of_a_job_is_documented():
    page = (ROOT / "docs" / "jobs.md").read_text()
    missing = [s.name for s in JobStatus if f"| 0x{s:02x} | {s.name} |" not in page]
    assert not missing, f"no line in docs/jobs.md: {', '.join(missing)}"


def test_every_port_of_the_verilog_is_documented():
    page = (ROOT / "docs" / "verilog.md").read_text()
    patterns = re.findall(r"`(p\w+(?:__\*|_\*)?)`", page)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        top = Tailrace(Config())
        ports = ["__".join(map(str, path)) for path, _, _ in top.signature.flatten(top)]
        del top
        gc.collect()
    assert len(ports) > 50
    missing = []
    for port in ports:
        # `a` and `b` "and their `_vld`"
        plain = port.replace("_vld", "")
        if not any(fnmatch.fnmatch(plain, pattern) for pattern in patterns):
            missing.append(port)
    assert missing == []


def test_the_documented_defaults_are_the_configuration():
    page = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    values = tomllib.loads(block)
    assert values == Config().to_dict()
