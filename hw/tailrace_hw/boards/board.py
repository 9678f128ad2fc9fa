"""What a board is: its FPGA, where its blocks and pins are, its clocks."""

from dataclasses import dataclass

from tailrace_hw.config import Config, ConfigError

__all__ = ["CORE_HZ", "MAC_HZ", "Board", "DifferentialClock", "Lanes", "Pin"]

#: User clock of the PCIe block at Gen3 x16 with a 512-bit interface (PG213).
CORE_HZ = 250_000_000
#: User clock of the CMAC at 100 Gb/s (PG203).
MAC_HZ = 322_265_625


@dataclass(frozen=True)
class Pin:
    """A package pin with what is set for it.

    Attributes
    ----------
    standard : I/O standard; empty for a transceiver's pin
    properties : further properties, as in XDC
    """

    location: str
    standard: str = ""
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DifferentialClock:
    """A clock input.

    Attributes
    ----------
    hz : frequency
    p, n : pins
    """

    hz: float
    p: Pin
    n: Pin

    @property
    def period(self) -> float:
        """Nanoseconds, rounded down to picoseconds."""
        return int(1e12 / self.hz) / 1000


@dataclass(frozen=True)
class Lanes:
    """Transceiver pins by lane."""

    rx_p: tuple[str, ...]
    rx_n: tuple[str, ...]
    tx_p: tuple[str, ...]
    tx_n: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """A card with an UltraScale+ device, one PCIe slot and one 100G port in use.

    Attributes
    ----------
    name : on the command line and in file names
    title : in text
    part : for Vivado
    pcie_ip : name of the IP that wraps the integrated block
    pcie_site : the block's location, as the IP has it
    pcie_lanes, pcie_clock, pcie_reset : pins of the slot
    free_clock : runs from power-on
    free_divide : what it is divided by, for the transceivers' start-up logic
    mac_site, mac_channels : location of the CMAC and its four transceiver channels
    mac_lanes, mac_clock : pins of the port
    constants : outputs that hold one level, with that level
    bitstream : properties of the design for the bitstream
    """

    name: str
    title: str
    part: str
    pcie_ip: str
    pcie_site: str
    pcie_lanes: Lanes
    pcie_clock: DifferentialClock
    pcie_reset: Pin
    free_clock: DifferentialClock
    free_divide: int
    mac_site: str
    mac_channels: tuple[str, str, str, str]
    mac_lanes: Lanes
    mac_clock: DifferentialClock
    constants: tuple[tuple[str, int, Pin], ...]
    bitstream: tuple[tuple[str, str], ...]

    @property
    def top(self) -> str:
        """Name of the Verilog top module."""
        return f"tailrace_{self.name}"

    @property
    def free_hz(self) -> float:
        """Frequency of the start-up logic's clock."""
        return self.free_clock.hz / self.free_divide

    def check(self, config: Config) -> None:
        """Refuse a configuration that can't be built for the board.

        Raises
        ------
        ConfigError
            With one line that says why.
        """
        for name, wanted, found in (
            ("width", 512, config.width),
            ("pcie.width", 512, config.pcie_width),
            ("clock_hz", CORE_HZ, config.clock_hz),
        ):
            if wanted != found:
                raise ConfigError(f"board {self.name} needs {name} = {wanted}, not {found}")
