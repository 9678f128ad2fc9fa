#!/bin/sh
# The guest at the other end of the wire: answers, serves iperf3, runs what it is asked.
. /etc/tailrace/lib.sh

network_up || {
    tell "trouble no network"
    exit 1
}
# One a CPU of the other guest: a server has one client at a time.
for port in 5201 5202 5203 5204; do
    iperf3 -s -D -p $port >/dev/null
done
nc -ll -p 7777 -e /bin/sh &
tell "ready $NIC"
while sleep 3600; do :; done
