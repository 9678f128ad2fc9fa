"""The host-driver model of Tailrace: what a firmware engineer reads to learn the device."""
