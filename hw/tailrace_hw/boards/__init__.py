"""What ties the device to a board: vendor blocks, pins, clocks, constraints, build scripts."""
