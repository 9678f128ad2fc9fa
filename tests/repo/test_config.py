"""A configuration that can't be built is refused, with the reason in one line."""

import pytest

from tailrace_hw.config import (
    Config,
    ConfigError,
    JobsConfig,
    PcieConfig,
    PortConfig,
    VirtioNetConfig,
)


def test_defaults_are_the_documented_device():
    config = Config()
    assert (config.width, config.pcie_width) == (512, 512)
    assert (config.port.count, config.virtio_net.queue_pairs) == (1, 4)
    assert Config(width=64).pcie_width == 256


def test_toml_and_overrides(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('width = 64\n[virtio_net]\nqueue_pairs = 2\nmac = "02:00:00:00:00:07"\n')
    config = Config.from_toml(path)
    assert config.width == 64
    assert config.virtio_net == VirtioNetConfig(queue_pairs=2, mac="02:00:00:00:00:07")
    assert Config.from_toml(path, width=256).width == 256
    assert config.hash() != Config(width=64).hash()


@pytest.mark.parametrize(
    ("values", "user_keys"),
    [("", 1020), ("keys = 16", 12), ("keys = 16\nxts = false", 15), ("keys = 0", 0)],
)
def test_the_self_test_has_keys_of_its_own(tmp_path, values, user_keys):
    path = tmp_path / "x.toml"
    path.write_text(f"[jobs]\nqueues = 1\nin_flight = 8\n{values}\n")
    jobs = Config.from_toml(path).jobs
    assert (jobs.queues, jobs.in_flight) == (1, 8)
    assert jobs.xts == ("false" not in values)
    assert jobs.user_keys == user_keys


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Config(width=96), "width must be one of"),
        (lambda: Config(clock_hz=0), "clock_hz"),
        (lambda: PcieConfig(width=128), "pcie.width"),
        (lambda: PcieConfig(read_tags=32), "pcie.read_tags"),
        (lambda: PcieConfig(completion_timeout=1), "completion_timeout"),
        (lambda: VirtioNetConfig(queue_pairs=17), "queue_pairs must be 1 to 16"),
        (lambda: VirtioNetConfig(max_queue_size=100), "power of two"),
        (lambda: VirtioNetConfig(mtu=67), "mtu"),
        (lambda: VirtioNetConfig(mac="01:00:00:00:00:00"), "unicast"),
        (lambda: VirtioNetConfig(mac="nonsense"), "unicast"),
        (lambda: VirtioNetConfig(mac="2: 54:+2:0_0:0:1"), "unicast"),
        (lambda: VirtioNetConfig(prefetch=8), "prefetch"),
        (lambda: VirtioNetConfig(receive_buffer=8192), "receive_buffer"),
        (lambda: PortConfig(count=2), "port.count"),
        (lambda: PortConfig(max_length=100), "max_length"),
        (lambda: PortConfig(min_length=64), "min_length"),
        (lambda: Config(port=PortConfig(max_length=1518)), "port.max_length is 1518"),
        (lambda: JobsConfig(queues=0), "jobs.queues must be 1 to 4, not 0"),
        (lambda: JobsConfig(queues=5), "jobs.queues must be 1 to 4, not 5"),
        (lambda: JobsConfig(in_flight=4), "jobs.in_flight must be a power of two from 8 to 128"),
        (lambda: JobsConfig(in_flight=24), "jobs.in_flight .* not 24"),
        (lambda: JobsConfig(in_flight=256), "jobs.in_flight .* not 256"),
        (lambda: JobsConfig(keys=8), "jobs.keys must be 0 or a power of two from 16 to 65536"),
        (lambda: JobsConfig(keys=1000), "jobs.keys .* not 1000"),
        (lambda: JobsConfig(keys=1 << 17), "jobs.keys .* not 131072"),
        (lambda: JobsConfig(keys=-16), "jobs.keys .* not -16"),
    ],
)
def test_the_impossible_is_refused(make, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("width = ", "is not TOML"),
        ("wdith = 64", "unknown key wdith"),
        ('width = "64"', "width must be a number"),
        ("pcie = 3", "pcie must be a table"),
        ("[virtio_net]\nqueues = 2", "unknown key virtio_net.queues"),
        ("[jobs]\nxts = 1", "jobs.xts must be true or false, not 1$"),
        ("[jobs]\nkeys = true", "jobs.keys must be a number, not true$"),
        ("[jobs]\nlanes = 2", "unknown key jobs.lanes; known are in_flight, keys, queues, xts"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, reason):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        Config.from_toml(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        Config.from_toml(tmp_path / "none.toml")
