"""State of a PCIe function that the blocks behind it need, and interrupt requests."""

from amaranth.lib import data

__all__ = ["FunctionState", "InterruptRequest"]


class FunctionState(data.Struct):
    """Levels of one physical function, from the hard block's configuration space."""

    #: Memory Space Enable and Bus Master Enable of the Command register (PCIe 5.0, 7.5.1.1.3).
    memory_enable: 1
    bus_master: 1
    #: Max_Payload_Size and Max_Read_Request_Size encodings: 128 << value bytes (7.5.3.4).
    max_payload: 3
    max_read: 3
    #: MSI-X Enable and Function Mask of the MSI-X Message Control register (7.7.2.2).
    msix_enable: 1
    msix_mask: 1
    #: Function level reset in progress (or the whole device in reset).
    reset: 1


class InterruptRequest(data.Struct):
    """Asks for one MSI-X message. A vector of 0xFFFF (none) is dropped."""

    function: 8
    vector: 16
