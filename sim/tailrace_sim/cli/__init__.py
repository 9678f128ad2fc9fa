"""Verbs of the `tailrace` command that need the gateware or the simulator."""
