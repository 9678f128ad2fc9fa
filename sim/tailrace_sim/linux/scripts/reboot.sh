# A warm reboot in the middle of traffic: this script runs again from its start, and asks the guest
# at the other end how far it was.
. /etc/tailrace/lib.sh

ROUNDS=2
round=$(peer 'cat /run/reboots 2>/dev/null || echo 0')
check "$PEER answers after reboot $round" peer_answers
if [ "$round" -lt $ROUNDS ]; then
    peer "echo $((round + 1)) >/run/reboots" >/dev/null
    ping -q -f -s 900 "$PEER" >/dev/null 2>&1 &
    sleep 0.5
    echo "rebooting in traffic"
    reboot -f
    sleep 600
fi
equal "reboots" "$round" $ROUNDS
equal "answers to a flood of 100" "$(answered 100 -q -f -W 20)" 100
tail -n 2 /tmp/ping
finish
