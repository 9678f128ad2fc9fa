"""Numbers and structure layouts of virtio 1.2, each under the section that defines it.

Structures are :class:`struct.Struct`, little-endian as all of virtio 1.x is (1.4).
"""

from enum import IntEnum, IntFlag
from struct import Struct

__all__ = [
    "CommonCfg",
    "CsumFlag",
    "DescFlag",
    "DeviceStatus",
    "Feature",
    "RingEvent",
]

# 2.1 Device Status Field ------------------------------------------------------------------------


class DeviceStatus(IntFlag):
    """Device Status Field (2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    DEVICE_NEEDS_RESET = 64
    FAILED = 128


# 2.2, 5.1.3, 6 Feature bits ---------------------------------------------------------------------


class Feature(IntFlag):
    """Feature bits that this driver knows: network (5.1.3) and reserved ones (6)."""

    NET_CSUM = 1 << 0
    NET_GUEST_CSUM = 1 << 1
    NET_MTU = 1 << 3
    NET_MAC = 1 << 5
    NET_MRG_RXBUF = 1 << 15
    NET_STATUS = 1 << 16
    NET_CTRL_VQ = 1 << 17
    NET_MQ = 1 << 22
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    ORDER_PLATFORM = 1 << 36
    RING_RESET = 1 << 40


# 4.1.2 PCI Device Discovery ---------------------------------------------------------------------

PCI_VENDOR_ID = 0x1AF4
#: 0x1040 plus the virtio device ID; 1 is a network card (5).
PCI_DEVICE_ID_BASE = 0x1040
DEVICE_ID_NET = 1

# 4.1.4 Virtio Structure PCI Capabilities --------------------------------------------------------

#: struct virtio_pci_cap: cap_vndr, cap_next, cap_len, cfg_type, bar, id, padding, offset, length.
PCI_CAP = Struct("<BBBBBB2xII")


class CfgType(IntEnum):
    """cfg_type of struct virtio_pci_cap (4.1.4)."""

    COMMON_CFG = 1
    NOTIFY_CFG = 2
    ISR_CFG = 3
    DEVICE_CFG = 4
    PCI_CFG = 5


#: MSI-X "none" (4.1.4.3).
MSI_NO_VECTOR = 0xFFFF


class CommonCfg(IntEnum):
    """Offsets in struct virtio_pci_common_cfg (4.1.4.3)."""

    DEVICE_FEATURE_SELECT = 0x00
    DEVICE_FEATURE = 0x04
    DRIVER_FEATURE_SELECT = 0x08
    DRIVER_FEATURE = 0x0C
    CONFIG_MSIX_VECTOR = 0x10
    NUM_QUEUES = 0x12
    DEVICE_STATUS = 0x14
    CONFIG_GENERATION = 0x15
    QUEUE_SELECT = 0x16
    QUEUE_SIZE = 0x18
    QUEUE_MSIX_VECTOR = 0x1A
    QUEUE_ENABLE = 0x1C
    QUEUE_NOTIFY_OFF = 0x1E
    QUEUE_DESC = 0x20
    QUEUE_DRIVER = 0x28
    QUEUE_DEVICE = 0x30
    QUEUE_NOTIFY_DATA = 0x38
    QUEUE_RESET = 0x3A


#: Bytes up to and with queue_device: what every device has. RING_RESET needs up to queue_reset.
COMMON_CFG_LENGTH = 0x38
COMMON_CFG_LENGTH_RESET = 0x3C

# 4.1.4.5 ISR status -----------------------------------------------------------------------------

ISR_QUEUE = 1
ISR_CONFIG = 2

# 2.7 Split Virtqueues ---------------------------------------------------------------------------


class DescFlag(IntFlag):
    """Flags of a descriptor, split (2.7.5) and packed (2.8.13)."""

    NEXT = 1
    WRITE = 2
    INDIRECT = 4
    #: Packed only (2.8.1).
    AVAIL = 1 << 7
    USED = 1 << 15


#: struct virtq_desc (2.7.5): addr, len, flags, next.
VIRTQ_DESC = Struct("<QIHH")
#: flags and idx of struct virtq_avail (2.7.6); then ring[] of le16, then used_event.
VIRTQ_AVAIL = Struct("<HH")
#: flags and idx of struct virtq_used (2.7.8); then ring[] of virtq_used_elem, then avail_event.
VIRTQ_USED = Struct("<HH")
#: struct virtq_used_elem (2.7.8): id, len.
VIRTQ_USED_ELEM = Struct("<II")

#: VIRTQ_AVAIL_F_NO_INTERRUPT (2.7.6) and VIRTQ_USED_F_NO_NOTIFY (2.7.8).
AVAIL_F_NO_INTERRUPT = 1
USED_F_NO_NOTIFY = 1

#: Alignment of descriptor table, available ring and used ring (2.7).
SPLIT_ALIGN = (16, 2, 4)
#: Largest ring: split (2.7) and packed (2.8).
MAX_QUEUE_SIZE = 1 << 15

# 2.8 Packed Virtqueues --------------------------------------------------------------------------

#: struct pvirtq_desc (2.8.13): addr, len, id, flags.
PVIRTQ_DESC = Struct("<QIHH")
#: struct pvirtq_event_suppress (2.8.14): desc_event_off_wrap, flags.
PVIRTQ_EVENT = Struct("<HH")
#: Alignment of descriptor ring and of both event suppression structures (2.8.10.1).
PACKED_ALIGN = (16, 4, 4)


class RingEvent(IntEnum):
    """flags of struct pvirtq_event_suppress (2.8.10)."""

    ENABLE = 0
    DISABLE = 1
    DESC = 2


# 5.1 Network Device -----------------------------------------------------------------------------

#: struct virtio_net_config (5.1.4): mac, status, max_virtqueue_pairs, mtu.
NET_CONFIG = Struct("<6sHHH")
NET_S_LINK_UP = 1

#: struct virtio_net_hdr (5.1.6): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset,
#: num_buffers.
NET_HDR = Struct("<BBHHHHH")
NET_HDR_LENGTH = NET_HDR.size


class CsumFlag(IntFlag):
    """flags of struct virtio_net_hdr (5.1.6)."""

    NEEDS_CSUM = 1
    DATA_VALID = 2


GSO_NONE = 0

#: Largest frame without its header when no MTU is negotiated: 1500 + 14 (5.1.6.3.1).
ETHERNET_HEADER = 14
#: A frame may carry a service and a customer tag beside its MTU (IEEE 802.1Q, 9.5).
VLAN_TAGS = 2 * 4
DEFAULT_MTU = 1500

# 5.1.6.5 Control Virtqueue ----------------------------------------------------------------------

#: struct virtio_net_ctrl (5.1.6.5): class, command; then the command's data, then ack.
NET_CTRL = Struct("<BB")
NET_OK = 0
NET_ERR = 1
#: Multiqueue (5.1.6.5.5): struct virtio_net_ctrl_mq is virtqueue_pairs.
NET_CTRL_MQ = 4
NET_CTRL_MQ_VQ_PAIRS_SET = 0
NET_CTRL_MQ_PAIRS = Struct("<H")

#: What each network feature needs (5.1.3.1).
FEATURE_NEEDS = {
    Feature.NET_MQ: Feature.NET_CTRL_VQ,
}
