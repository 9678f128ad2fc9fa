"""AMD Alveo U55C (XCU55C). Pins: as corundum and open-nic-shell, designs for the card, use them."""

from tailrace_hw.boards.board import Board, DifferentialClock, Lanes, Pin

__all__ = ["U55C"]

U55C = Board(
    name="u55c",
    title="AMD Alveo U55C",
    part="xcu55c-fsvh2892-2L-e",
    pcie_ip="pcie4c_uscale_plus",
    pcie_site="X1Y1",
    # Quads 227 to 224, lane 0 in channel 3 of quad 227.
    pcie_lanes=Lanes(
        rx_p=(
            "AL2", "AM4", "AN6", "AN2", "AP4", "AR2", "AT4", "AU2",
            "AV4", "AW6", "AW2", "AY4", "BA6", "BA2", "BB4", "BC2",
        ),
        rx_n=(
            "AL1", "AM3", "AN5", "AN1", "AP3", "AR1", "AT3", "AU1",
            "AV3", "AW5", "AW1", "AY3", "BA5", "BA1", "BB3", "BC1",
        ),
        tx_p=(
            "AL11", "AM9", "AN11", "AP9", "AR11", "AR7", "AT9", "AU11",
            "AU7", "AV9", "AW11", "AY9", "BA11", "BB9", "BC11", "BC7",
        ),
        tx_n=(
            "AL10", "AM8", "AN10", "AP8", "AR10", "AR6", "AT8", "AU10",
            "AU6", "AV8", "AW10", "AY8", "BA10", "BB8", "BC10", "BC6",
        ),
    ),
    pcie_clock=DifferentialClock(100e6, Pin("AR15"), Pin("AR14")),
    pcie_reset=Pin("BF41", "LVCMOS18", (("PULLUP", "true"),)),
    free_clock=DifferentialClock(100e6, Pin("BK43", "LVDS"), Pin("BK44", "LVDS")),
    free_divide=1,
    mac_site="CMACE4_X0Y3",
    mac_channels=("X0Y24", "X0Y25", "X0Y26", "X0Y27"),
    # QSFP0, quad 130.
    mac_lanes=Lanes(
        rx_p=("AD51", "AC53", "AC49", "AB51"),
        rx_n=("AD52", "AC54", "AC50", "AB52"),
        tx_p=("AD46", "AC44", "AB46", "AA48"),
        tx_n=("AD47", "AC45", "AB47", "AA49"),
    ),
    mac_clock=DifferentialClock(161_132_812.5, Pin("AD42"), Pin("AD43")),
    constants=(
        # The card cuts the power when this floats: the HBM that is not used is not too hot.
        ("hbm_cattrip", 0, Pin("BE45", "LVCMOS18", (("PULLDOWN", "true"),))),
    ),
    bitstream=(
        ("CFGBVS", "GND"),
        ("CONFIG_VOLTAGE", "1.8"),
        ("CONFIG_MODE", "SPIx4"),
        ("BITSTREAM.GENERAL.COMPRESS", "TRUE"),
        ("BITSTREAM.CONFIG.CONFIGFALLBACK", "ENABLE"),
        ("BITSTREAM.CONFIG.EXTMASTERCCLK_EN", "DISABLE"),
        ("BITSTREAM.CONFIG.CONFIGRATE", "85.0"),
        ("BITSTREAM.CONFIG.SPI_32BIT_ADDR", "YES"),
        ("BITSTREAM.CONFIG.SPI_BUSWIDTH", "4"),
        ("BITSTREAM.CONFIG.SPI_FALL_EDGE", "YES"),
        ("BITSTREAM.CONFIG.OVERTEMPSHUTDOWN", "ENABLE"),
        ("BITSTREAM.CONFIG.UNUSEDPIN", "PULLUP"),
    ),
)  # fmt: skip
