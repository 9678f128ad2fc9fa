"""Numbers of the virtio specification, 1.2, that gateware and configuration share."""

import enum

__all__ = [
    "NET_FEATURES",
    "NOTIFY_OFF_MULTIPLIER",
    "REQUIRES",
    "RING_FEATURES",
    "DeviceStatus",
    "Feature",
    "feature_mask",
]

#: ``notify_off_multiplier`` of the notification capability (4.1.4.4).
NOTIFY_OFF_MULTIPLIER = 4


class Feature(enum.IntEnum):
    """Feature bits: those of every device (6) and those of a network device (5.1.3)."""

    CSUM = 0
    GUEST_CSUM = 1
    MTU = 3
    MAC = 5
    MRG_RXBUF = 15
    STATUS = 16
    CTRL_VQ = 17
    MQ = 22
    INDIRECT_DESC = 28
    EVENT_IDX = 29
    VERSION_1 = 32
    ACCESS_PLATFORM = 33
    RING_PACKED = 34
    ORDER_PLATFORM = 36
    RING_RESET = 40


class DeviceStatus(enum.IntFlag):
    """Bits of the device status field (2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


def feature_mask(features) -> int:
    """Feature bits as a number."""
    return sum(1 << Feature(feature) for feature in set(features))


#: What the virtqueues and the transport offer.
#:
#: ACCESS_PLATFORM and ORDER_PLATFORM are offered because the device is real hardware behind a PCIe
#: link: it uses bus addresses, which an IOMMU may translate, and its accesses are ordered by the
#: bus and not by the coherence of the CPUs, so the driver needs the platform's DMA addresses and
#: barriers (6.1). A driver that accepts neither still works where those make no difference.
RING_FEATURES = (
    Feature.INDIRECT_DESC,
    Feature.EVENT_IDX,
    Feature.VERSION_1,
    Feature.ACCESS_PLATFORM,
    Feature.RING_PACKED,
    Feature.ORDER_PLATFORM,
    Feature.RING_RESET,
)

#: What a network function offers beside :data:`RING_FEATURES`.
NET_FEATURES = (
    Feature.CSUM,
    Feature.GUEST_CSUM,
    Feature.MTU,
    Feature.MAC,
    Feature.MRG_RXBUF,
    Feature.STATUS,
    Feature.CTRL_VQ,
    Feature.MQ,
)

#: Features that a driver may accept only together with another one (5.1.3.1).
REQUIRES = {Feature.MQ: Feature.CTRL_VQ}
