#!/bin/sh
# The guest with the device in its slot: runs the scripts it was given, or has a shell.
. /etc/tailrace/lib.sh

network_up || tell "trouble no network"
if [ ! -d /etc/tailrace/run ]; then
    if [ -n "$PEER" ]; then
        wait_for 60 peer_answers && echo "$NIC is $ADDRESS; $PEER answers" ||
            echo "$NIC is $ADDRESS; $PEER does not answer"
    fi
    [ "$WIRE" != pcap ] || echo "the frames of the capture enter with: wire play"
    echo "Linux $(uname -r), the device is $SLOT; exit or Ctrl-D ends it"
    export PS1='dpu# '
    exec setsid cttyhack bash --rcfile /etc/tailrace/lib.sh
fi
# The guest at the other end boots at the same time as this one.
[ -z "$PEER" ] || wait_for 300 peer_answers || tell "trouble no answer"
# A script may reboot: what was over before is not run again. The other end remembers.
over=
[ -z "$PEER" ] || over=$(peer 'cat /run/over 2>/dev/null')
for script in /etc/tailrace/run/*; do
    name=$(basename "$script")
    ! echo "$over" | grep -qx "$name" || continue
    echo "--- ${name#*-}"
    tell "start ${name#*-}"
    sh "$script"
    tell "exit $? ${name#*-}"
    [ -z "$PEER" ] || peer "echo $name >>/run/over" >/dev/null
done
tell "end"
