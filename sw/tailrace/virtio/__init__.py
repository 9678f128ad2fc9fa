"""virtio over PCI: transport, virtqueues and the network driver."""
