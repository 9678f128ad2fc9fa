"""pyuvm environments."""
