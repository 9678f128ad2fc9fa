"""Building blocks shared by every engine: streams, FIFOs, arbiters, width and clock crossing."""
