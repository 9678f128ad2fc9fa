"""A beat inside the engine: what admission has found out about it."""

from amaranth.lib import data

from tailrace_hw.crypto.types import KeySize, Operation, Status

__all__ = ["work_layout"]


def work_layout(lanes: int, rows: int) -> data.StructLayout:
    """Layout of a beat in the rigid part of the engine.

    Parameters
    ----------
    lanes : :class:`int`
        Blocks of 128 bits a beat.
    rows : :class:`int`
        Of the key table.

    Members
    -------
    data : 128 bits a lane
    first, last : of its packet
    operation, row, size : constant for the packet
    count : blocks of payload in this beat, a partial one included; 0 without payload
    bytes : bytes of payload in this beat
    write : the beat goes out
    end : it is the last one that goes out
    steal : the block that ciphertext stealing works on twice is in this beat, the last full one
    status : how the packet ends, but for its tag, as far as known: all of it with ``last``, and
        with ``end`` whether what goes out is whole
    aad_length, length, tag_length, function, job, key : as in ``JobParameters``
    """
    return data.StructLayout(
        {
            "data": 128 * lanes,
            "first": 1,
            "last": 1,
            "operation": Operation,
            "row": range(rows),
            "size": KeySize,
            "count": range(lanes + 1),
            "bytes": range(16 * lanes + 1),
            "write": 1,
            "end": 1,
            "steal": 1,
            "status": Status,
            "aad_length": 7,
            "length": 15,
            "tag_length": 5,
            "function": 8,
            "job": 16,
            "key": 16,
        }
    )
