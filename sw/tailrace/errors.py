"""What can go wrong, each with one sentence that says what and, where it is known, why."""

__all__ = [
    "DeviceNeedsReset",
    "HostError",
    "NegotiationError",
    "PciError",
    "QueueFull",
    "ResponseTimeout",
    "TailraceError",
    "VirtioError",
    "VirtqueueError",
]


class TailraceError(Exception):
    """Base of everything the driver raises on purpose."""


class HostError(TailraceError):
    """The host cannot do what was asked: out of DMA memory, address in no function's BAR."""


class PciError(TailraceError):
    """Configuration space says something that it must not say, or lacks what is needed."""


class ResponseTimeout(TailraceError):
    """The device did not answer within the number of cycles that it was given."""


class VirtioError(TailraceError):
    """The device broke the virtio specification, or was used against it."""


class NegotiationError(VirtioError):
    """Device and driver found no common set of features (virtio 1.2, 3.1.1)."""


class VirtqueueError(VirtioError):
    """The device wrote something impossible into a ring."""


class QueueFull(VirtioError):
    """The ring has no room for the chain now; reclaim used buffers, then add again."""


class DeviceNeedsReset(VirtioError):
    """The device set DEVICE_NEEDS_RESET (virtio 1.2, 2.1): nothing works until it is reset.

    Attributes
    ----------
    cause : what the device's error collector says, or "no cause was reported"
    """

    def __init__(self, function: object, cause: str = "no cause was reported"):
        self.cause = cause
        super().__init__(f"function {function} needs a reset: {cause}")
