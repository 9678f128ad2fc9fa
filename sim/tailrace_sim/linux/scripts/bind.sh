# The kernel finds the device, and its own driver is at work on what was asked for.
. /etc/tailrace/lib.sh

has() {
    [ -n "$2" ] && pass "$1: $2" || fail "$1"
}

dmesg | grep -E "$SLOT|virtio_net|virtio-pci|0000:01:00" | sed 's/^/dmesg /'
lspci -nnk -s "${SLOT%.*}" | sed 's/^/lspci /'
has "driver of $SLOT" "$(basename "$(readlink "/sys/bus/pci/devices/$SLOT/driver")")"
has "driver of $NIC" "$(basename "$(readlink "/sys/class/net/$NIC/device/driver")")"
dmesg | grep -iE "(pci|virtio).*(error|invalid|unknown header|can't|fail)" >/tmp/wrong
equal "complaints of the kernel about PCI or virtio" "$(grep -c . /tmp/wrong)" 0
sed 's/^/dmesg /' /tmp/wrong

# One digit a feature bit, bit 0 first (virtio 1.2, 5.1.3 and 6).
features=$(cat "/sys/class/net/$NIC/device/features")
echo "features $features"
feature() {
    equal "$1" "${features:$2:1}" "$3"
}
feature VIRTIO_NET_F_CSUM 0 1
feature VIRTIO_NET_F_GUEST_CSUM 1 1
feature VIRTIO_NET_F_MTU 3 1
feature VIRTIO_NET_F_MAC 5 1
feature VIRTIO_NET_F_MRG_RXBUF 15 1
feature VIRTIO_NET_F_STATUS 16 1
feature VIRTIO_NET_F_CTRL_VQ 17 1
feature VIRTIO_NET_F_MQ 22 1
feature VIRTIO_F_INDIRECT_DESC 28 1
feature VIRTIO_F_EVENT_IDX 29 1
feature VIRTIO_F_VERSION_1 32 1
feature VIRTIO_F_ACCESS_PLATFORM 33 1
feature VIRTIO_F_RING_PACKED 34 "$([ "$RINGS" = packed ] && echo 1 || echo 0)"
feature VIRTIO_F_ORDER_PLATFORM 36 1
feature VIRTIO_F_RING_RESET 40 1

for option in i l k S; do
    check "ethtool -$option $NIC" ethtool -$option "$NIC"
    ethtool -$option "$NIC" 2>&1 | grep -v ': 0$' | head -n 20 | sed "s/^/ethtool -$option /"
done
equal "driver by ethtool" "$(ethtool -i "$NIC" | sed -n 's/^driver: //p')" virtio_net
vectors=$(ls "/sys/bus/pci/devices/$SLOT/msi_irqs" | wc -l)
at_least "MSI-X vectors in use" "$vectors" 3
grep virtio /proc/interrupts | sed 's/^/interrupts /'
check "$PEER answers" peer_answers
finish
