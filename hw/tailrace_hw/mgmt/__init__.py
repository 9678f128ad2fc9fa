"""Management: error collector, counters, device identification."""
