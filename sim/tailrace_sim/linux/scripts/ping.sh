# Pings of three sizes; then a few hundred without a pause between answers.
. /etc/tailrace/lib.sh

for size in 56 1400 8000; do
    [ "$size" -le 1472 ] || {
        ip link set "$NIC" mtu 9000
        peer 'ip link set eth0 mtu 9000' >/dev/null
    }
    equal "answers to 5 pings of $size bytes" \
        "$(answered 5 -i 0.2 -W 20 -M do -s "$size")" 5
    echo "$size bytes: $(tail -n 1 /tmp/ping)"
done
ip link set "$NIC" mtu 1500
peer 'ip link set eth0 mtu 1500' >/dev/null
equal "answers to a flood of 400" "$(answered 400 -q -f -W 20 -s 200)" 400
tail -n 2 /tmp/ping
finish
