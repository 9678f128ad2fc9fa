"""MAC port adapters: AXI4-Stream of a MAC to packet streams and back."""
