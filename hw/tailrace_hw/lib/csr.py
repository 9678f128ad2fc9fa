"""The CSR bus: 32-bit register accesses, one at a time, answered in order."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CsrResponse", "CsrSignature", "csr_request_layout"]


def csr_request_layout(address_width: int) -> data.StructLayout:
    """Layout of one access.

    Members
    -------
    address : ``address_width`` bits
        Byte address, a multiple of 4.
    write : 1 bit
    data : 32 bits
        Written data, meaningless for a read.
    strobe : 4 bits
        Byte enables. A read may have side effects only on bytes that are enabled; an access with
        no byte enabled changes nothing.
    """
    return data.StructLayout({"address": address_width, "write": 1, "data": 32, "strobe": 4})


class CsrResponse(data.Struct):
    """Answer to one access, writes included."""

    #: Read data, 0 for a write.
    data: 32
    #: No register at this address (or not allowed): reads give 0, writes change nothing.
    error: 1


class CsrSignature(wiring.Signature):
    """CSR bus as its initiator drives it: a request stream out, a response stream in.

    Every request gets exactly one response, in order. A target may take any number of cycles, and
    may not take a second request before it has answered the first.
    """

    def __init__(self, address_width: int):
        self.address_width = address_width
        super().__init__(
            {
                "request": Out(stream.Signature(csr_request_layout(address_width))),
                "response": In(stream.Signature(CsrResponse)),
            }
        )

    def __eq__(self, other) -> bool:
        return isinstance(other, CsrSignature) and self.address_width == other.address_width
