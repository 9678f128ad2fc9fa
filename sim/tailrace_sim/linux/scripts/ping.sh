# Pings of three sizes; then a few hundred without a pause between answers.
. /etc/tailrace/lib.sh

for size in 56 1400 8000; do
    [ "$size" -le 1472 ] || {
        ip link set "$NIC" mtu 9000
        peer 'ip link set eth0 mtu 9000' >/dev/null
    }
    ping -c 5 -i 0.2 -W 20 -M do -s "$size" "$PEER" >/tmp/ping
    echo "$size bytes: $(tail -n 1 /tmp/ping)"
    equal "answers to 5 pings of $size bytes" "$(grep -c "bytes from $PEER" /tmp/ping)" 5
done
ip link set "$NIC" mtu 1500
peer 'ip link set eth0 mtu 1500' >/dev/null
ping -q -f -c 400 -W 20 -s 200 "$PEER" >/tmp/ping
tail -n 2 /tmp/ping
equal "answers to a flood of 400" "$(sed -n 's/.* \([0-9]*\) received.*/\1/p' /tmp/ping)" 400
finish
