"""The fast backend: Verilated devices with C++ models at their pins, run in strides by Python."""
