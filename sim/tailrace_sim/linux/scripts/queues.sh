# Several queue pairs: as many as wanted are in use, each carries traffic, and changing their number
# loses nothing.
. /etc/tailrace/lib.sh

combined() {
    ethtool -l "$NIC" | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1
}

# Packets of a queue so far: `packets rx 0`.
packets() {
    ethtool -S "$NIC" | sed -n "s/^ *$1_queue_$2_packets: //p"
}

most=$(ethtool -l "$NIC" | sed -n 's/^Combined:[[:space:]]*//p' | head -n 1)
at_least "queue pairs there can be" "$most" 2
for pairs in 2 "$most" 1 2; do
    check "ethtool -L combined $pairs" ethtool -L "$NIC" combined "$pairs"
    equal "queue pairs in use" "$(combined)" "$pairs"
    i=0
    while [ $i -lt "$pairs" ]; do
        eval "rx$i=$(packets rx $i) tx$i=$(packets tx $i)"
        i=$((i + 1))
    done
    # A flow is one address and port at each end: many flows meet all queues.
    cpu=0
    while [ $cpu -lt "$CPUS" ]; do
        taskset $((1 << cpu)) iperf3 -c "$PEER" -p $((5201 + cpu)) -P 8 -n 8K -l 1K \
            >/tmp/iperf$cpu 2>&1 &
        cpu=$((cpu + 1))
    done
    wait
    i=0
    while [ $i -lt "$pairs" ]; do
        eval "rx=\$rx$i tx=\$tx$i"
        at_least "$pairs pairs, packets received by queue $i" $(($(packets rx $i) - rx)) 1
        # A CPU sends on the queue of its own number.
        [ $i -ge "$CPUS" ] ||
            at_least "$pairs pairs, packets sent by queue $i" $(($(packets tx $i) - tx)) 1
        i=$((i + 1))
    done
    check "$PEER answers on $pairs pairs" peer_answers
done
check "more pairs than there are are refused" sh -c "! ethtool -L $NIC combined $((most + 1))"
check "$PEER answers" peer_answers
finish
