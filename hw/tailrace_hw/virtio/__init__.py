"""Virtqueue engine and virtio-net (OASIS virtio 1.2)."""
