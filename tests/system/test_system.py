"""The driver and the whole device: PCIe host at one end, wire at the other."""

from pathlib import Path

from tailrace_hw.config import Config, VirtioNetConfig
from tailrace_sim.device import NO_CIPHER, build_device
from tailrace_sim.run import run

HERE = Path(__file__).parent
#: The other width: 256 bits towards PCIe, 64 inside.
NARROW = Config(width=64, virtio_net=VirtioNetConfig(queue_pairs=2), jobs=NO_CIPHER)


def simulate(name, module, tests, config=None, **settings):
    config = config or Config(jobs=NO_CIPHER)
    run(
        build_device(config),
        module,
        name=f"system_{name}",
        tests=tests,
        parameters={"config": config.to_dict(), **settings},
        python_path=[HERE],
    )


def test_traffic():
    """Both ring formats in all their variants, four pairs, stalls everywhere."""
    simulate("traffic", "traffic_cocotb", ["packed_ring", "split_ring"], frames=12, combinations=8)


def test_wrong_frames():
    """What must be dropped, from either side."""
    tests = ["wrong_frames_from_the_wire", "no_buffers", "wrong_frames_from_the_driver"]
    simulate("wrong_frames", "wrong_frames_cocotb", tests)


def test_malicious():
    """A driver and a host that break every rule."""
    tests = [
        "nonsense_in_rings",
        "queues_that_cannot_be",
        "memory_that_is_not_there",
        "host_faults",
        "bus_master_off",
    ]
    simulate("malicious", "malicious_cocotb", tests)


def test_resets():
    """The device, a function or a pair of rings is reset in the middle of traffic."""
    tests = [
        "device_reset",
        "function_reset",
        "ring_reset",
        "link_and_configuration",
        "withheld_features",
        "masked_vectors",
    ]
    simulate("resets", "resets_cocotb", tests)


def test_traffic_narrow():
    simulate(
        "traffic_narrow", "traffic_cocotb", ["packed_ring", "split_ring"], NARROW,
        frames=8, combinations=3,
    )  # fmt: skip
