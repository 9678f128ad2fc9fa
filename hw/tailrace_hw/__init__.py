"""The gateware of Tailrace: everything in this package becomes Verilog."""
