# A function level reset in the middle of traffic. The driver knows nothing of it, and its queues
# are gone; bound again, it works as before. The management function keeps what it has.
. /etc/tailrace/lib.sh

driver=/sys/bus/pci/drivers/virtio-pci
device=/sys/bus/pci/devices/$SLOT

bind() {
    echo "$SLOT" >$driver/bind && interface_up
}

reset() {
    echo 1 >"$device/reset"
}

echo "reset_method $(cat "$device/reset_method")"
at_least "function level reset is a way to reset" "$(grep -c flr "$device/reset_method")" 1
echo flr >"$device/reset_method"
for round in 1 2 3; do
    ping -q -f -s 700 "$PEER" >/dev/null 2>&1 &
    flood=$!
    sleep 0.5
    check "reset in traffic ($round)" reset
    check "management after the reset ($round)" management_lives
    echo "$SLOT" >$driver/unbind
    kill $flood 2>/dev/null
    wait $flood
    check "reset without a driver ($round)" reset
    check "bind ($round)" bind
    check "$PEER answers ($round)" wait_for 30 peer_answers
done
equal "errors that the kernel saw" "$(dmesg | grep -c 'AER:.*error')" 0
finish
