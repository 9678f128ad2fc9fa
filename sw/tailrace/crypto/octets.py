"""What callers give as bytes."""

from tailrace.crypto.errors import BadMessage

__all__ = ["Octets", "octets"]

#: Anything that ``cryptography`` takes for bytes.
Octets = bytes | bytearray | memoryview


def octets(what: str, value: Octets) -> bytes:
    """The bytes of a buffer, whatever its items are.

    Raises
    ------
    BadMessage
        It is none.
    """
    if isinstance(value, bytes):
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise BadMessage(f"{what} is bytes, not {type(value).__name__}") from None
