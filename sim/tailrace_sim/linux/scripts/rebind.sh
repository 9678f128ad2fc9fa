# The driver goes and comes, idle and in the middle of traffic.
. /etc/tailrace/lib.sh

driver=/sys/bus/pci/drivers/virtio-pci

unbind() {
    echo "$SLOT" >$driver/unbind
}

bind() {
    echo "$SLOT" >$driver/bind && interface_up
}

reload() {
    modprobe -r virtio_net && modprobe virtio_net && interface_up
}

# Traffic that does not end by itself.
traffic() {
    ping -q -f -s 500 "$PEER" >/dev/null 2>&1 &
    flood=$!
    sleep 0.5
}

# `ping` goes on without an interface.
silence() {
    kill $flood 2>/dev/null
    wait $flood 2>/dev/null
}

for load in idle traffic; do
    for round in 1 2; do
        [ $load = idle ] || traffic
        check "$load, unbind ($round)" unbind
        check "$load, no interface is left" sh -c "! ls /sys/class/net | grep -v lo"
        [ $load = idle ] || silence
        check "$load, bind again ($round)" bind
        check "$load, $PEER answers ($round)" wait_for 30 peer_answers
        [ $load = idle ] || traffic
        check "$load, rmmod and modprobe ($round)" reload
        [ $load = idle ] || silence
        check "$load, $PEER answers ($round)" wait_for 30 peer_answers
    done
done
finish
