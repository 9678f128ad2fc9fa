"""The cipher engine as an engine of the job queues: pytest side."""

from pathlib import Path

import pytest

from tailrace_hw.crypto.job_port import JobPort, cipher_operations
from tailrace_hw.jobs.operations import Operation, engines_of
from tailrace_hw.jobs.types import Opcode
from tailrace_sim import build
from tailrace_sim.run import run

HERE = Path(__file__).parent


@pytest.mark.parametrize("width", [64, 512])
def test_jobs(width):
    source = build.emit(lambda: JobPort(width), "job_port", width)
    run(
        build.build(source, "job_port"),
        "cocotb_job_port",
        name=f"job-port-{width}",
        tests=["random_jobs", "behind_its_key", "full_rate"],
        parameters={"width": width},
        python_path=[HERE],
    )


def test_the_table_of_operations():
    copy = Operation(Opcode.COPY, 0, 1, 1)
    operations = cipher_operations(1)
    assert engines_of((copy, *operations)) == 2
    assert {operation.opcode for operation in operations} == {
        opcode for opcode in Opcode if opcode.value >= 0x10
    }
    assert len(cipher_operations(1, xts=False)) == len(operations) - 2
