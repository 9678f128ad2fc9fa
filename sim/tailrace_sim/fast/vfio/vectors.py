"""Interrupts of a plugged function: its MSI-X vectors, and the client's eventfds.

The client keeps the guest's MSI-X table to itself and tells us an eventfd a vector. The device's
own table is ours: each entry has a message of ours, and is masked as long as nobody wants it, so
that an interrupt that nobody could hear is pending in the device.
"""

import contextlib
import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tailrace_sim.fast.vfio.protocol import (
    BadRequest,
    IrqAction,
    IrqData,
    IrqIndex,
    Message,
    fields,
)

__all__ = ["SET_IRQS", "Vectors"]

SET_IRQS = struct.Struct("=IIIII")
_EVENTFD = "anon_inode:[eventfd]"
_ONE = (1).to_bytes(8, "little")
_DATA, _ACTION = 0x7, 0x38


@dataclass
class _Vector:
    trigger: int | None = None
    mask: int | None = None
    unmask: int | None = None
    masked: bool = False
    count: int = 0


def _signal(descriptor: int | None) -> bool:
    """Add one to an eventfd; False if there is none, or its counter is at its end."""
    if descriptor is None:
        return False
    writable = select.poll()
    writable.register(descriptor, select.POLLOUT)
    # One that is full would make us wait, and says all that it can say anyway.
    if not writable.poll(0):
        return False
    with contextlib.suppress(OSError):
        os.write(descriptor, _ONE)
        return True
    return False


class Vectors:
    """What DEVICE_SET_IRQS has set up.

    Attributes
    ----------
    unheard : interrupts of the device for which there was no eventfd

    Parameters
    ----------
    count : vectors of the function
    program : called with a vector and whether it is to be masked in the device's table
    """

    def __init__(self, count: int, program: Callable[[int, bool], None]):
        self._vectors = [_Vector() for _ in range(count)]
        self._program = program
        self.unheard = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def counts(self) -> dict[int, int]:
        """Interrupts of each vector that had some."""
        return {n: vector.count for n, vector in enumerate(self._vectors) if vector.count}

    def fire(self, number: int) -> None:
        """The device has sent its message."""
        if number >= len(self._vectors) or self._vectors[number].trigger is None:
            self.unheard += 1
            return
        self._vectors[number].count += 1
        _signal(self._vectors[number].trigger)

    # The device's table

    def is_masked(self, number: int) -> bool:
        """Whether the device's entry is to be masked."""
        vector = self._vectors[number]
        return vector.masked or vector.trigger is None

    def program(self) -> None:
        """Set up the device's table, that a reset has cleared."""
        for number in range(len(self._vectors)):
            self._program(number, self.is_masked(number))

    def _apply(self, number: int, before: bool) -> None:
        if self.is_masked(number) != before:
            self._program(number, not before)

    # Requests

    def set(self, message: Message) -> None:
        """DEVICE_SET_IRQS.

        Raises
        ------
        BadRequest
            It makes no sense; nothing has changed.
        """
        _, flags, index, start, count = fields(SET_IRQS, message, exact=False)
        data, action = flags & _DATA, flags & _ACTION
        if data.bit_count() != 1 or action.bit_count() != 1 or flags & ~(_DATA | _ACTION):
            raise BadRequest(f"DEVICE_SET_IRQS with flags {flags:#x}")
        if index > max(IrqIndex):
            raise BadRequest(f"DEVICE_SET_IRQS for interrupts of kind {index}")
        length = count if data == IrqData.BOOL else 0
        if len(message.body) != SET_IRQS.size + length:
            raise BadRequest(f"DEVICE_SET_IRQS with {len(message.body)} bytes")
        if (data, action, start, count) == (IrqData.NONE, IrqAction.TRIGGER, 0, 0):
            # What there is not is disabled already.
            self._refuse_fds(message)
            if index == IrqIndex.MSIX:
                self.disable()
            return
        if index != IrqIndex.MSIX:
            raise BadRequest(f"DEVICE_SET_IRQS for {IrqIndex(index).name}, which we don't have")
        if count == 0 or start + count > len(self._vectors):
            raise BadRequest(
                f"DEVICE_SET_IRQS for vectors {start} to {start + count - 1}"
                f" of {len(self._vectors)}"
            )
        if data == IrqData.EVENTFD:
            self._assign(message, action, start, count)
            return
        self._refuse_fds(message)
        chosen = message.body[SET_IRQS.size :] if data == IrqData.BOOL else bytes([1]) * count
        for number, wanted in enumerate(chosen, start):
            if wanted:
                self._act(number, action)

    @staticmethod
    def _refuse_fds(message: Message) -> None:
        if message.fds:
            raise BadRequest(f"DEVICE_SET_IRQS with {len(message.fds)} needless file descriptors")

    def _act(self, number: int, action: int) -> None:
        vector, before = self._vectors[number], self.is_masked(number)
        if action == IrqAction.TRIGGER:
            _signal(vector.trigger)
            return
        masked = action == IrqAction.MASK
        if vector.masked != masked:
            vector.masked = masked
            self._apply(number, before)
            _signal(vector.mask if masked else vector.unmask)

    def _assign(self, message: Message, action: int, start: int, count: int) -> None:
        """Eventfds for vectors, or none any more."""
        if len(message.fds) not in (0, count):
            raise BadRequest(
                f"DEVICE_SET_IRQS with {len(message.fds)} eventfds for {count} vectors"
            )
        for descriptor in message.fds:
            if os.readlink(f"/proc/self/fd/{descriptor}") != _EVENTFD:
                raise BadRequest("DEVICE_SET_IRQS with a file descriptor that is no eventfd")
        given: list[int | None] = list(message.fds) or [None] * count
        message.fds.clear()
        name = {IrqAction.MASK: "mask", IrqAction.UNMASK: "unmask"}.get(
            IrqAction(action), "trigger"
        )
        for number, taken in enumerate(given, start):
            vector, before = self._vectors[number], self.is_masked(number)
            _close(getattr(vector, name))
            setattr(vector, name, taken)
            self._apply(number, before)

    def disable(self) -> None:
        """No eventfds any more, and nothing masked by a client."""
        for number in range(len(self._vectors)):
            vector, before = self._vectors[number], self.is_masked(number)
            for descriptor in (vector.trigger, vector.mask, vector.unmask):
                _close(descriptor)
            self._vectors[number] = _Vector(count=vector.count)
            self._apply(number, before)

    def table_entry(self, number: int, masked: bool, address: int) -> bytes:
        """What the device's table has for a vector (PCIe 5.0, 7.7.2.6)."""
        return struct.pack("<QII", address, number, int(masked))


def _close(descriptor: Any) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.close(descriptor)
