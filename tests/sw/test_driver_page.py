"""The examples of docs/driver.md about jobs and ciphers, run on the soft device."""

import re
import textwrap
from pathlib import Path

from tailrace_sim.shell_names import CLASSES
from tailrace_sim.soft_device import DeviceBench

PAGE = Path(__file__).resolve().parents[2] / "docs" / "driver.md"


def test_the_examples_run(capsys):
    page = PAGE.read_text()
    section = page[page.index("## Jobs") : page.index("## The golden models")]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    bench = DeviceBench()
    body = textwrap.indent("".join(blocks) + "return destination, result, results\n", "    ")
    # No more than the shell has.
    space = {**CLASSES, "device": bench.find(), "host": bench.host}
    exec(f"async def example():\n{body}", space)
    destination, result, results = bench.run(space["example"]())
    assert bytes(destination.mem[:5]) == b"hello"
    assert result.ok
    assert len(results) == 1000
    assert all(one.ok for one in results)
    assert "done=1002" in capsys.readouterr().out
