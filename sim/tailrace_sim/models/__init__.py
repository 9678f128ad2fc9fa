"""Golden models: pure Python from the specifications, no gateware and no simulator imported."""
