"""Bus functional models on cocotbext-pcie and cocotbext-axi; pcap source and sink."""
