"""Descriptors of the completer interfaces of the integrated block (PG213)."""

from amaranth.hdl import C, Cat, Mux
from amaranth.lib import data, enum

__all__ = [
    "CcDescriptor",
    "CompletionStatus",
    "CqDescriptor",
    "CqRequest",
    "byte_count",
    "first_byte",
]


class CqRequest(enum.Enum, shape=4):
    """Request types of a completer request."""

    MEMORY_READ = 0
    MEMORY_WRITE = 1
    IO_READ = 2
    IO_WRITE = 3
    FETCH_ADD = 4
    SWAP = 5
    COMPARE_SWAP = 6
    MEMORY_READ_LOCKED = 7
    MESSAGE = 12
    MESSAGE_VENDOR = 13
    MESSAGE_ATS = 14


class CompletionStatus(enum.Enum, shape=3):
    """PCIe 5.0, 2.2.9."""

    SUCCESS = 0
    UNSUPPORTED_REQUEST = 1
    COMPLETER_ABORT = 4


class CqDescriptor(data.Struct):
    """First four dwords of a memory, I/O or atomic request."""

    address_type: 2
    #: Dword address.
    address: 62
    dword_count: 11
    request_type: 4
    reserved0: 1
    requester_id: 16
    tag: 8
    function: 8
    bar: 3
    bar_aperture: 6
    tc: 3
    attributes: 3
    reserved1: 1


class CcDescriptor(data.Struct):
    """First three dwords of a completion."""

    lower_address: 7
    reserved0: 1
    address_type: 2
    reserved1: 6
    byte_count: 13
    locked: 1
    reserved2: 2
    dword_count: 11
    status: 3
    poisoned: 1
    reserved3: 1
    requester_id: 16
    tag: 8
    #: The block fills in bus and device number; the function's is ours.
    completer_function: 8
    completer_bus: 8
    completer_id_enable: 1
    tc: 3
    attributes: 3
    force_ecrc: 1


def first_byte(enables):
    """Offset of the first enabled byte of a dword, 0 if none is (PCIe 5.0, 2.3.1.1)."""
    return Mux(enables[0], 0, Mux(enables[1], 1, Mux(enables[2], 2, Mux(enables[3], 3, 0))))


def _unused_above(enables):
    """Bytes above the last enabled one of a dword."""
    return Mux(enables[3], 0, Mux(enables[2], 1, Mux(enables[1], 2, 3)))


def byte_count(dwords, first, last):
    """Byte Count of a memory read's completion (PCIe 5.0, 2.3.1.1, table 2-39)."""
    final = Mux(dwords == 1, first, last)
    whole = Cat(C(0, 2), dwords)
    count = (whole - first_byte(first) - _unused_above(final))[: len(whole)]
    return Mux((dwords == 1) & ~first.any(), 1, count)
