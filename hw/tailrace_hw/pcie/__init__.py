"""PCIe transaction layer: BARs, DMA engines, MSI-X and functions behind an UltraScale+ block."""
