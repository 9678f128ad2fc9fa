"""A Linux guest in QEMU with the device in its PCIe slot: images, guests, sessions."""
