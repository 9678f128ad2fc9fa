#!/bin/sh
# The guest with the device in its slot: runs the scripts it was given, or has a shell.
. /etc/tailrace/lib.sh

network_up || tell "trouble no network"
if [ ! -d /etc/tailrace/run ]; then
    if [ -n "$PEER" ]; then
        wait_for 60 peer_answers && echo "$NIC is $ADDRESS; $PEER answers" ||
            echo "$NIC is $ADDRESS; $PEER does not answer"
    fi
    echo "Linux $(uname -r), the device is $SLOT; exit or Ctrl-D ends it"
    exec setsid cttyhack bash --norc
fi
# The guest at the other end boots at the same time as this one.
[ -z "$PEER" ] || wait_for 300 peer_answers || tell "trouble no answer"
for script in /etc/tailrace/run/*; do
    name=$(basename "$script")
    echo "--- ${name#*-}"
    tell "start ${name#*-}"
    sh "$script"
    tell "exit $? ${name#*-}"
done
tell "end"
