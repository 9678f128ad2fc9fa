"""AMD Alveo U250 (XCU250). Pins: as corundum and open-nic-shell, designs for the card, use them."""

from tailrace_hw.boards.board import Board, DifferentialClock, Lanes, Pin

__all__ = ["U250"]

_SLOW = (("SLEW", "SLOW"), ("DRIVE", "8"))

U250 = Board(
    name="u250",
    title="AMD Alveo U250",
    part="xcu250-figd2104-2L-e",
    pcie_ip="pcie4_uscale_plus",
    pcie_site="X0Y1",
    # Quads 227 to 224, lane 0 in channel 3 of quad 227.
    pcie_lanes=Lanes(
        rx_p=(
            "AF2", "AG4", "AH2", "AJ4", "AK2", "AL4", "AM2", "AN4",
            "AP2", "AR4", "AT2", "AU4", "AV2", "AW4", "BA2", "BC2",
        ),
        rx_n=(
            "AF1", "AG3", "AH1", "AJ3", "AK1", "AL3", "AM1", "AN3",
            "AP1", "AR3", "AT1", "AU3", "AV1", "AW3", "BA1", "BC1",
        ),
        tx_p=(
            "AF7", "AG9", "AH7", "AJ9", "AK7", "AL9", "AM7", "AN9",
            "AP7", "AR9", "AT7", "AU9", "AV7", "BB5", "BD5", "BF5",
        ),
        tx_n=(
            "AF6", "AG8", "AH6", "AJ8", "AK6", "AL8", "AM6", "AN8",
            "AP6", "AR8", "AT6", "AU8", "AV6", "BB4", "BD4", "BF4",
        ),
    ),
    pcie_clock=DifferentialClock(100e6, Pin("AM11"), Pin("AM10")),
    pcie_reset=Pin("BD21", "LVCMOS12", (("PULLUP", "true"),)),
    # SYSCLK0, which the first DDR4 channel would use.
    free_clock=DifferentialClock(300e6, Pin("AY37", "LVDS"), Pin("AY38", "LVDS")),
    free_divide=3,
    mac_site="CMACE4_X0Y8",
    mac_channels=("X1Y44", "X1Y45", "X1Y46", "X1Y47"),
    # QSFP0, quad 231, with the Si570's clock on its first reference input.
    mac_lanes=Lanes(
        rx_p=("N4", "M2", "L4", "K2"),
        rx_n=("N3", "M1", "L3", "K1"),
        tx_p=("N9", "M7", "L9", "K7"),
        tx_n=("N8", "M6", "L8", "K6"),
    ),
    mac_clock=DifferentialClock(156.25e6, Pin("M11"), Pin("M10")),
    constants=(
        ("qsfp0_modsell", 0, Pin("BE16", "LVCMOS12", _SLOW)),
        ("qsfp0_resetl", 1, Pin("BE17", "LVCMOS12", _SLOW)),
        ("qsfp0_lpmode", 0, Pin("BD18", "LVCMOS12", _SLOW)),
    ),
    bitstream=(
        ("CFGBVS", "GND"),
        ("CONFIG_VOLTAGE", "1.8"),
        ("BITSTREAM.GENERAL.COMPRESS", "TRUE"),
        ("BITSTREAM.CONFIG.CONFIGFALLBACK", "ENABLE"),
        ("BITSTREAM.CONFIG.EXTMASTERCCLK_EN", "DISABLE"),
        ("BITSTREAM.CONFIG.CONFIGRATE", "63.8"),
        ("BITSTREAM.CONFIG.SPI_32BIT_ADDR", "YES"),
        ("BITSTREAM.CONFIG.SPI_BUSWIDTH", "4"),
        ("BITSTREAM.CONFIG.SPI_FALL_EDGE", "YES"),
        ("BITSTREAM.CONFIG.UNUSEDPIN", "PULLUP"),
    ),
)  # fmt: skip
