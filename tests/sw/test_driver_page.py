"""The examples of docs/driver.md about jobs and ciphers, run on the soft device."""

import re
import textwrap
from pathlib import Path

from tailrace.crypto.aead import AESGCM, AESXTS
from tailrace.crypto.cipher import Fault
from tailrace.crypto.tls import ContentType, RecordProtection
from tailrace.jobs.types import Job
from tailrace.regs.job_memory import JobOpcode
from tailrace_sim.soft_device import DeviceBench

PAGE = Path(__file__).resolve().parents[2] / "docs" / "driver.md"
NAMES = {"AESGCM": AESGCM, "AESXTS": AESXTS, "ContentType": ContentType, "Fault": Fault,
         "Job": Job, "JobOpcode": JobOpcode, "RecordProtection": RecordProtection}  # fmt: skip


def test_the_examples_run(capsys):
    page = PAGE.read_text()
    section = page[page.index("## Jobs") : page.index("## The golden models")]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    bench = DeviceBench()
    given = {"device": bench.find(), "host": bench.host, "nonce": bytes(12),
             "traffic_key": bytes(16), "traffic_iv": bytes(12)}  # fmt: skip
    body = textwrap.indent("".join(blocks) + "return destination, result, results\n", "    ")
    space = {**NAMES, **given}
    exec(f"async def example():\n{body}", space)
    destination, result, results = bench.run(space["example"]())
    assert bytes(destination.mem[:5]) == b"hello"
    assert result.ok
    assert len(results) == 1000
    assert all(one.ok for one in results)
    assert "done=1002" in capsys.readouterr().out
