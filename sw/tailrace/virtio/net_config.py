"""Configuration of a network device (virtio 1.2, 5.1.4)."""

from dataclasses import dataclass

from tailrace.virtio import spec
from tailrace.virtio.pci_transport import PciTransport
from tailrace.virtio.spec import Feature

__all__ = ["NetConfig", "read_config"]

_MAC_LENGTH = 6
# Offsets in struct virtio_net_config and the feature that makes each field exist.
_WORDS = {
    "status": (6, Feature.NET_STATUS),
    "max_virtqueue_pairs": (8, Feature.NET_MQ),
    "mtu": (10, Feature.NET_MTU),
}


@dataclass(frozen=True)
class NetConfig:
    """struct virtio_net_config as it was read last; what was not negotiated has its default.

    Attributes
    ----------
    mac : six bytes; zeros without VIRTIO_NET_F_MAC
    link_up : True without VIRTIO_NET_F_STATUS
    max_pairs : max_virtqueue_pairs, 1 without VIRTIO_NET_F_MQ
    mtu : 1500 without VIRTIO_NET_F_MTU
    """

    mac: bytes = bytes(_MAC_LENGTH)
    link_up: bool = True
    max_pairs: int = 1
    mtu: int = spec.DEFAULT_MTU


async def read_config(transport: PciTransport) -> NetConfig:
    """Read a consistent copy of the fields that the negotiated features let exist."""
    fields = [(i, 1) for i in range(_MAC_LENGTH)]
    names = [name for name, (_, feature) in _WORDS.items() if feature in transport.features]
    fields += [(_WORDS[name][0], 2) for name in names]
    values = await transport.config_fields(fields)
    words = dict(zip(names, values[_MAC_LENGTH:], strict=True))
    has_mac = Feature.NET_MAC in transport.features
    return NetConfig(
        mac=bytes(values[:_MAC_LENGTH]) if has_mac else bytes(_MAC_LENGTH),
        link_up=bool(words.get("status", spec.NET_S_LINK_UP) & spec.NET_S_LINK_UP),
        max_pairs=words.get("max_virtqueue_pairs", 1),
        mtu=words.get("mtu", spec.DEFAULT_MTU),
    )
