# The wire is pulled out and put in again, idle and in traffic: the driver is told each time, nothing
# passes meanwhile, and afterwards everything does. The kernel counts how often its carrier came and
# went; virtio_net writes no line about it into dmesg.
. /etc/tailrace/lib.sh

ROUNDS=2

no_carrier() {
    ! has_carrier
}

detected() {
    ethtool "$NIC" | sed -n 's/.*Link detected: //p'
}

# How often: `changes up`.
changes() {
    cat "/sys/class/net/$NIC/carrier_$1_count"
}

# Interrupts that told the driver to look at the configuration.
told() {
    awk '/virtio[0-9]+-config/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i }
        END { print sum + 0 }' /proc/interrupts
}

look() {
    equal "$1, Link detected by ethtool" "$(detected)" "$2"
    find_management >/dev/null || return
    equal "$1, link_up of the port's register" $(($(register port0.status) & 1)) "$3"
}

ups=$(changes up) downs=$(changes down) interrupts=$(told)
look "at first" yes 1
for load in idle traffic; do
    round=1
    while [ $round -le $ROUNDS ]; do
        what="$load ($round)"
        if [ $load = traffic ]; then
            ping -q -f -s 600 "$PEER" >/dev/null 2>&1 &
            flood=$!
            sleep 0.5
        fi
        wire link down
        check "$what, link down, carrier is lost" wait_for 60 no_carrier
        # What is derived from that, the kernel looks at once a second.
        check "$what, link down, ip link says so" wait_for 60 sh -c "ip link show $NIC | grep NO-CARRIER"
        ip link show "$NIC"
        look "$what, link down" no 0
        check "$what, link down, no answers" sh -c "! ping -c 2 -i 0.3 -W 2 $PEER"
        wire link up
        check "$what, link up, carrier is back" wait_for 60 has_carrier
        ip link show "$NIC"
        look "$what, link up" yes 1
        check "$what, link up, $PEER answers" wait_for 60 peer_answers
        if [ $load = traffic ]; then
            kill $flood 2>/dev/null
            wait $flood 2>/dev/null
        fi
        round=$((round + 1))
    done
done
equal "times that the carrier went" $(($(changes down) - downs)) $((2 * ROUNDS))
equal "times that the carrier came" $(($(changes up) - ups)) $((2 * ROUNDS))
at_least "interrupts for the configuration" $(($(told) - interrupts)) $((4 * ROUNDS))
# Behind the last answer to the floods.
check "$PEER answers" peer_answers
equal "answers to a flood of 100" "$(answered 100 -q -f -W 20)" 100
tail -n 2 /tmp/ping
finish
