# TCP and UDP both ways. The kernel at the other end has no checksum offload: it verifies each sum
# that the device has filled in. Ours trusts the device's verdict, and verifies where there is none.
. /etc/tailrace/lib.sh

SECONDS_EACH=${SECONDS_EACH:-5}

# A counter of /proc/net/snmp: `snmp Tcp InCsumErrors` of the text on standard input.
snmp() {
    awk -v proto="$1:" -v field="$2" '
        $1 == proto && !header { split($0, names); header = 1; next }
        $1 == proto { for (i in names) if (names[i] == field) print $i }'
}

there() {
    peer cat /proc/net/snmp | snmp "$1" "$2"
}

here() {
    snmp "$1" "$2" </proc/net/snmp
}

# Kilobits a second, as the receiver has it.
rate() {
    grep receiver /tmp/iperf | tail -n 1 | sed -n 's/.* \([0-9.]*\) Kbits.*/\1/p' | cut -d. -f1
}

# Without VIRTIO_NET_F_GUEST_CSUM nobody tells its kernel that a sum was right.
equal "VIRTIO_NET_F_CSUM and GUEST_CSUM at the other end" \
    "$(peer 'head -c 2 /sys/class/net/eth0/device/features')" 00
equal "transmit checksum offload here" \
    "$(ethtool -k "$NIC" | sed -n 's/^tx-checksumming: \([a-z]*\).*/\1/p')" on

before=$(there Tcp InSegs)
for way in "" -R; do
    name="TCP ${way:+from the other end}"
    iperf3 -c "$PEER" -t "$SECONDS_EACH" -f k $way >/tmp/iperf 2>&1
    equal "$name, exit status" $? 0
    grep -E 'sender|receiver|error' /tmp/iperf
    at_least "$name, kbit/s" "$(rate)" 1
done
at_least "TCP segments at the other end" $(($(there Tcp InSegs) - before)) 100
equal "TCP segments with a wrong checksum at the other end" "$(there Tcp InCsumErrors)" 0
equal "TCP segments with a wrong checksum here" "$(here Tcp InCsumErrors)" 0

before=$(there Udp InDatagrams)
for way in "" -R; do
    name="UDP ${way:+from the other end}"
    iperf3 -u -c "$PEER" -t "$SECONDS_EACH" -b 1M -l 1400 -f k $way >/tmp/iperf 2>&1
    equal "$name, exit status" $? 0
    grep -E 'sender|receiver|error' /tmp/iperf
    at_least "$name, kbit/s" "$(rate)" 1
done
at_least "UDP datagrams at the other end" $(($(there Udp InDatagrams) - before)) 100
equal "UDP datagrams with a wrong checksum at the other end" "$(there Udp InCsumErrors)" 0
equal "UDP datagrams with a wrong checksum here" "$(here Udp InCsumErrors)" 0
finish
