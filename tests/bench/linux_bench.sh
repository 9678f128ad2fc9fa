# Figures for bench_linux.py: `figure NAME VALUE` on a line of its own.
. /etc/tailrace/lib.sh

# Kilobits a second that arrived.
rate() {
    iperf3 -c "$PEER" -f k "$@" >/tmp/iperf 2>&1 || fail "iperf3 $*: $(tail -n 1 /tmp/iperf)"
    grep receiver /tmp/iperf | tail -n 1 | sed -n 's/.* \([0-9.]*\) Kbits.*/\1/p'
}

check "$PEER answers" wait_for 60 peer_answers
if [ "$LOAD" = idle ]; then
    sleep "$SECONDS_EACH"
    finish
fi
for size in 56 1400; do
    ping -q -c "$PINGS" -i 0.02 -W 20 -s $size "$PEER" >/tmp/ping
    equal "answers to pings of $size bytes" "$(sed -n 's/.* \([0-9]*\) received.*/\1/p' /tmp/ping)" \
        "$PINGS"
    echo "figure ping_$size $(sed -n 's|^rtt.*= [0-9.]*/\([0-9.]*\)/.*|\1|p' /tmp/ping)"
done
echo "figure tcp_out $(rate -t "$SECONDS_EACH")"
echo "figure tcp_in $(rate -t "$SECONDS_EACH" -R)"
finish
