"""How the parts of the transport share its registers."""

from amaranth.hdl import Cat, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw import regs

__all__ = ["RegisterAccess", "merge", "slot_of", "word_of"]


class RegisterAccess(wiring.Signature):
    """One access to the virtio structures, as the transport shows it to their parts.

    Members
    -------
    address : 14 bits
        Byte address in BAR 0, a multiple of 4. Steady from the cycle before ``read`` or ``write``.
    read, write : 1 bit
        High for one cycle.
    data, strobe : as on the CSR bus
    value : 32 bits, from the part
        The word at ``address``, 0 where the part has none; looked at while ``read`` is high.
    """

    def __init__(self):
        super().__init__(
            {
                "address": Out(14),
                "read": Out(1),
                "write": Out(1),
                "data": Out(32),
                "strobe": Out(4),
                "value": In(32),
            }
        )


def word_of(register: str) -> int:
    """Address of the 32-bit word that a register of ``regs.rdl`` is in, in words."""
    return regs.load("virtio/regs.rdl")[register].address // 4


def merge(old, access) -> Value:
    """``old`` (32 bits) with the bytes that the access writes."""
    return Cat(
        Mux(access.strobe[byte], access.data.word_select(byte, 8), old[8 * byte : 8 * byte + 8])
        for byte in range(4)
    )


def slot_of(index, pairs: int, multiqueue, control) -> tuple[Value, Value]:
    """Place of a virtqueue (virtio 1.2, 5.1.2) and whether there is such a queue.

    Receive queue i has slot 2i, transmit queue i slot 2i + 1, the control queue the last slot,
    ``2 * pairs``, whatever its virtqueue index: without multiqueue that is 2.
    """
    last = 2 * pairs
    slot = Mux(multiqueue | (index != 2), index, last)
    control_index = Mux(multiqueue, last, 2)
    exists = (index < control_index) | (control & (index == control_index))
    return slot, exists
