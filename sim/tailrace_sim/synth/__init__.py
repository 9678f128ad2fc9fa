"""Area, depth and clock of Verilog on open tools: ours by block, and anybody else's."""
