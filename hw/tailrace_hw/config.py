"""Configuration of a device: frozen dataclasses, one a block, that refuse the impossible.

The TOML form has a table a class and a key an attribute::

    width = 512
    [pcie]
    read_tags = 128
    [virtio_net]
    queue_pairs = 4
    [port]
    count = 1
    [jobs]
    queues = 4
    keys = 1024
"""

import dataclasses
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tailrace_hw.crypto.types import self_test_rows
from tailrace_hw.lib.packet import WIDTHS

__all__ = ["Config", "ConfigError", "JobsConfig", "PcieConfig", "PortConfig", "VirtioNetConfig"]


class ConfigError(ValueError):
    """The configuration can't be built; the message is one line that says why."""


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ConfigError(reason)


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class PcieConfig:
    """PCIe side.

    Attributes
    ----------
    width : bits of the hard block's AXI4-Stream interfaces, 256 or 512; 0 takes what suits the
        datapath: 256 below 512, else 512
    read_tags : reads outstanding at most, 64 to 256
    completion_timeout : cycles until an unanswered read is given up
    """

    width: int = 0
    read_tags: int = 128
    completion_timeout: int = 12_500_000

    def __post_init__(self):
        _require(self.width in (0, 256, 512), f"pcie.width must be 256 or 512, not {self.width}")
        _require(
            64 <= self.read_tags <= 256 and _power_of_two(self.read_tags),
            f"pcie.read_tags must be 64, 128 or 256, not {self.read_tags}",
        )
        _require(
            self.completion_timeout >= 1000,
            f"pcie.completion_timeout must be at least 1000 cycles, not {self.completion_timeout}",
        )


@dataclass(frozen=True)
class VirtioNetConfig:
    """The virtio-net function.

    Attributes
    ----------
    queue_pairs : receive and transmit queue pairs, 1 to 16
    max_queue_size : largest ring a driver may set up, a power of two from 16 to 32768
    mtu : offered to the driver, 68 to 9216 (virtio 1.2, 5.1.4)
    mac : station address offered to the driver
    prefetch : descriptors kept on chip for each queue, a power of two from 16 to 256
    receive_buffer : bytes of frames waiting for host buffers
    """

    queue_pairs: int = 4
    max_queue_size: int = 1024
    mtu: int = 9000
    mac: str = "02:54:52:00:00:01"
    prefetch: int = 128
    receive_buffer: int = 65536

    def __post_init__(self):
        _require(
            1 <= self.queue_pairs <= 16,
            f"virtio_net.queue_pairs must be 1 to 16, not {self.queue_pairs}",
        )
        _require(
            _power_of_two(self.max_queue_size) and 16 <= self.max_queue_size <= 32768,
            f"virtio_net.max_queue_size must be a power of two from 16 to 32768, not "
            f"{self.max_queue_size}",
        )
        _require(68 <= self.mtu <= 9216, f"virtio_net.mtu must be 68 to 9216, not {self.mtu}")
        _require(
            _power_of_two(self.prefetch) and 16 <= self.prefetch <= 256,
            f"virtio_net.prefetch must be a power of two from 16 to 256, not {self.prefetch}",
        )
        _require(
            _power_of_two(self.receive_buffer)
            and self.max_frame * 2 <= self.receive_buffer <= 1 << 20,
            f"virtio_net.receive_buffer must be a power of two up to 1 MiB that holds two frames "
            f"of {self.max_frame} bytes, not {self.receive_buffer}",
        )
        self.mac_bytes()

    @property
    def max_frame(self) -> int:
        """Longest Ethernet frame without FCS: MTU, header and two VLAN tags."""
        return self.mtu + 14 + 8

    def mac_bytes(self) -> bytes:
        """Station address in transmission order."""
        written = re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", self.mac)
        octets = bytes.fromhex(self.mac.replace(":", "")) if written else b"\1"
        _require(
            not octets[0] & 1,
            f"virtio_net.mac must be a unicast address like 02:54:52:00:00:01, not {self.mac}",
        )
        return octets


@dataclass(frozen=True)
class PortConfig:
    """Network ports.

    Attributes
    ----------
    count : ports of the device; 1 until the pipeline can choose among several
    min_length, max_length : frames outside are dropped, lengths without FCS
    """

    count: int = 1
    min_length: int = 14
    max_length: int = 9238

    def __post_init__(self):
        _require(self.count == 1, f"port.count must be 1 (no switch is built), not {self.count}")
        _require(
            14 <= self.min_length <= 60, f"port.min_length must be 14 to 60, not {self.min_length}"
        )
        _require(
            1514 <= self.max_length <= 9728,
            f"port.max_length must be 1514 to 9728, not {self.max_length}",
        )


@dataclass(frozen=True)
class JobsConfig:
    """The look-aside engine.

    Attributes
    ----------
    queues : of jobs, 1 to 4
    in_flight : jobs in flight at once, of all queues: a power of two from 8 to 128
    keys : rows of the cipher engine's key table, a power of two from 16 to 65536, of which the
        self-test takes the last; 0 for a device without cipher engine
    xts : the cipher engine has AES-XTS as well as AES-GCM
    """

    queues: int = 4
    in_flight: int = 32
    keys: int = 1024
    xts: bool = True

    def __post_init__(self):
        _require(1 <= self.queues <= 4, f"jobs.queues must be 1 to 4, not {self.queues}")
        _require(
            8 <= self.in_flight <= 128 and _power_of_two(self.in_flight),
            f"jobs.in_flight must be a power of two from 8 to 128, not {self.in_flight}",
        )
        _require(
            self.keys == 0 or (16 <= self.keys <= 65536 and _power_of_two(self.keys)),
            f"jobs.keys must be 0 or a power of two from 16 to 65536, not {self.keys}",
        )

    @property
    def user_keys(self) -> int:
        """Keys that drivers may have."""
        return self.keys - self_test_rows(xts=self.xts) if self.keys else 0


@dataclass(frozen=True)
class Config:
    """The whole device.

    Attributes
    ----------
    width : datapath bits, one of 64, 128, 256, 512, 1024
    clock_hz : core clock, the PCIe block's user clock
    """

    width: int = 512
    clock_hz: int = 250_000_000
    pcie: PcieConfig = field(default_factory=PcieConfig)
    virtio_net: VirtioNetConfig = field(default_factory=VirtioNetConfig)
    port: PortConfig = field(default_factory=PortConfig)
    jobs: JobsConfig = field(default_factory=JobsConfig)

    def __post_init__(self):
        _require(
            self.width in WIDTHS,
            f"width must be one of {', '.join(map(str, WIDTHS))}, not {self.width}",
        )
        _require(
            1_000_000 <= self.clock_hz <= 1_000_000_000,
            f"clock_hz must be 1 MHz to 1 GHz, not {self.clock_hz}",
        )
        _require(
            self.virtio_net.max_frame <= self.port.max_length,
            f"virtio_net.mtu of {self.virtio_net.mtu} needs frames of "
            f"{self.virtio_net.max_frame} bytes, port.max_length is {self.port.max_length}",
        )

    @property
    def pcie_width(self) -> int:
        """Bits of the hard block's AXI4-Stream interfaces."""
        return self.pcie.width or (512 if self.width >= 512 else 256)

    def hash(self) -> str:
        """SHA-256 of the configuration, in hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_toml(cls, path: Path, **overrides: Any) -> "Config":
        """Read a configuration file; ``overrides`` replace top-level keys.

        Raises
        ------
        ConfigError
            The file is missing or no TOML, has an unknown key or a value of the wrong type, or
            describes a device that can't be built.
        """
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
        try:
            return cls.from_dict({**values, **overrides})
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Nested tables, as :meth:`from_dict` takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Configuration from nested tables; raises :class:`ConfigError` as :meth:`from_toml`."""
        return _from_dict(cls, values, "")


#: What the types of values are called.
_KINDS: dict[Any, str] = {int: "a number", str: "text", bool: "true or false"}


def _said(value: Any) -> str:
    """A value as TOML has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _from_dict(cls: type, values: dict[str, Any], prefix: str) -> Any:
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    arguments = {}
    for key, value in values.items():
        _require(key in known, f"unknown key {prefix}{key}; known are {', '.join(sorted(known))}")
        kind = known[key].type
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            _require(isinstance(value, dict), f"{prefix}{key} must be a table")
            value = _from_dict(kind, value, f"{prefix}{key}.")
        else:
            _require(
                type(value) is kind,
                f"{prefix}{key} must be {_KINDS[kind]}, not {_said(value)}",
            )
        arguments[key] = value
    return cls(**arguments)
