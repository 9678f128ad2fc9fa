"""cocotb on the fast backend: promises of a simulator, and failures, told as on the other one."""

from pathlib import Path

import pytest

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_hw.lib.packet_fifo import PacketFifo
from tailrace_sim.build import build, emit
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.run import SimulationError, run

HERE = Path(__file__).parent
LIB = HERE.parent / "lib"
NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)
PARAMETERS = {"config": NARROW.to_dict()}


@pytest.fixture
def model():
    return build_device(NARROW, backend="fast")


def test_what_a_simulator_promises(model):
    tests = ["timers", "edges", "taken_back", "phases", "tasks", "few_strides"]
    run(model, "kernel_cocotb", name="fast_kernel", tests=tests, parameters=PARAMETERS,
        python_path=[HERE])  # fmt: skip


def fifo():
    """The small one of tests/lib/test_run.py, for the cocotb backend."""
    name = "lib_packet_fifo"
    return build(emit(lambda: PacketFifo(64, 8, 16, stall=True), name, (64, 8, 16)), name)


@pytest.mark.parametrize("backend", ["fast", "cocotb"])
def test_the_reason_is_in_the_message(backend):
    model = build_device(NARROW, backend="fast") if backend == "fast" else fifo()
    tests = ["fails_with_a_reason", "fails_without_words"]
    with pytest.raises(SimulationError) as caught:
        run(model, "failing_cocotb", name=f"failing_{backend}", tests=tests, seed=7,
            python_path=[LIB])  # fmt: skip
    message = str(caught.value)
    assert "fails_with_a_reason failed: the reason is this; " in message
    assert "fails_without_words failed: " in message
    assert "(seed 7; see " in message
    assert message.endswith("simulation.log)")
    assert "detail" not in message


def test_what_an_event_raises_fails_the_test_and_not_the_simulator(model):
    with pytest.raises(SimulationError, match="a frame of 77 bytes is not wanted"):
        run(model, "kernel_cocotb", name="fast_handler", tests=["handler_fails"],
            parameters=PARAMETERS, python_path=[HERE])  # fmt: skip


def test_a_module_that_is_not_there_is_an_error(model):
    with pytest.raises(SimulationError, match="simulation failed"):
        run(model, "no_such_module", name="fast_missing", tests=["x"], python_path=[HERE])


def test_what_the_core_is_told(model):
    tests = [
        "settings_follow", "requests_are_packed_as_by_the_library",
        "a_discontinued_completion_is_none",
    ]  # fmt: skip
    run(model, "device_cocotb", name="fast_device", tests=tests, parameters=PARAMETERS,
        python_path=[HERE])  # fmt: skip
