"""Generated from SystemRDL by `./tailrace regs`; do not edit."""
