# Every MTU that the device allows, at both ends, and the frames that go with it.
. /etc/tailrace/lib.sh

most=$(ip -d link show "$NIC" | sed -n 's/.*maxmtu \([0-9]*\).*/\1/p')
at_least "largest MTU" "$most" 1500
for mtu in 576 1500 4000 "$most" 68 1500; do
    check "MTU $mtu" ip link set "$NIC" mtu "$mtu"
    equal "MTU of $NIC" "$(cat "/sys/class/net/$NIC/mtu")" "$mtu"
    # Through the network that is being changed: the answer may need the old MTU.
    peer "ip link set eth0 mtu $mtu" >/dev/null
    # What both had learnt of a smaller one.
    ip route flush cache
    peer "ip route flush cache" >/dev/null
    size=$((mtu - 28))
    equal "MTU $mtu, answers to 3 pings of $size bytes" \
        "$(answered 3 -i 0.2 -W 20 -M do -s $size)" 3
    check "MTU $mtu, one byte more is refused" sh -c "! ping -c 1 -W 5 -M do -s $((size + 1)) $PEER"
done
check "MTU $((most + 1)) is refused" sh -c "! ip link set $NIC mtu $((most + 1))"
check "$PEER answers" peer_answers
finish
