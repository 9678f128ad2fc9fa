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

# A flow is one address and port at each end: many meet all queues.
flows() {
    cpu=0
    while [ $cpu -lt "$CPUS" ]; do
        taskset $((1 << cpu)) iperf3 -c "$PEER" -p $((5201 + cpu)) -P 8 -n 8K -l 1K \
            >/tmp/iperf$cpu 2>&1 &
        cpu=$((cpu + 1))
    done
    wait
}

# Whether each of so many queues has received something since its count was taken.
all_reached() {
    i=0
    while [ $i -lt "$1" ]; do
        eval "rx=\$rx$i"
        [ $(($(packets rx $i) - rx)) -ge 1 ] || return 1
        i=$((i + 1))
    done
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
    # The ports of one run follow one another, and their hashes may miss a queue: those of the next
    # run are others.
    run=0
    while [ $run -lt 10 ]; do
        flows
        run=$((run + 1))
        ! all_reached "$pairs" || break
    done
    echo "$pairs pairs: $run times $((8 * CPUS)) flows"
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
