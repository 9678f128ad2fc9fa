# Many datagrams each way, and every one accounted for: what the driver sent, the device sent; what
# the device received, it delivered; what the port sent, the other end received. The wire holds both
# ends up instead of losing; if it lost any, the simulation's summary says so.
. /etc/tailrace/lib.sh

PACKETS=${PACKETS:-100000}
HALF=$((PACKETS / 2))

# All counts in this order: driver tx and rx, device tx and rx, port tx and rx, other end tx and rx.
counts() {
    set -- "$(cat "/sys/class/net/$NIC/statistics/tx_packets")" \
        "$(cat "/sys/class/net/$NIC/statistics/rx_packets")"
    echo "$@" "$(counter virtio_net0.tx_frames)" "$(counter virtio_net0.rx_frames)" \
        "$(counter port0.tx_frames)" "$(counter port0.rx_frames)"
}

drops() {
    for name in $(sed -n 's/^\(virtio_net0\.rx_drop_[a-z_]*\) .*/\1/p' /etc/tailrace/registers); do
        counter "$name"
    done | awk '{ sum += $1 } END { print sum }'
}

far() {
    peer "cat /sys/class/net/eth0/statistics/$1"
}

# Nothing is under way any more.
quiet() {
    sleep 2
}

quiet
far_rx=$(far rx_packets)
quiet
before=$(counts) dropped=$(drops)
iperf3 -u -c "$PEER" -b 0 -k $HALF -l 64 -f k >/tmp/iperf 2>&1
equal "iperf3 to the other end, exit status" $? 0
grep -E 'sender|receiver' /tmp/iperf
far_tx_before=$(far tx_packets)
iperf3 -u -R -c "$PEER" -b 2M -k $HALF -l 64 -f k >/tmp/iperf 2>&1
equal "iperf3 from the other end, exit status" $? 0
grep -E 'sender|receiver' /tmp/iperf
quiet
after=$(counts) dropped=$(($(drops) - dropped))

i=1
for name in driver_tx driver_rx device_tx device_rx port_tx port_rx; do
    eval "$name=$(($(echo "$after" | cut -d' ' -f$i) - $(echo "$before" | cut -d' ' -f$i)))"
    i=$((i + 1))
done
echo "frames: driver sent $driver_tx, received $driver_rx; device sent $device_tx," \
    "delivered $device_rx, dropped $dropped; port sent $port_tx, received $port_rx"
at_least "frames sent" "$driver_tx" $HALF
equal "sent by the device, by the driver" "$device_tx" "$driver_tx"
equal "sent by the port, by the device" "$port_tx" "$device_tx"
equal "delivered and dropped by the device, received by the port" \
    $((device_rx + dropped)) "$port_rx"
equal "received by the driver, delivered by the device" "$driver_rx" "$device_rx"
at_least "frames received" "$driver_rx" $HALF
equal "dropped by the device" "$dropped" 0
got=$(($(far rx_packets) - far_rx))
at_least "received at the other end, of $port_tx that the port sent" "$got" "$port_tx"
finish
