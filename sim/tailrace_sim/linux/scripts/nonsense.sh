# A driver that writes nonsense, straight to the registers. The device refuses it or asks for a
# reset, the management function does not notice, and afterwards the kernel's driver works.
. /etc/tailrace/lib.sh

# What a tool refuses to write does not reach the device: that would be no test of it.
exec 2>/tmp/complaints

driver=/sys/bus/pci/drivers/virtio-pci
device=/sys/bus/pci/devices/$SLOT

status() {
    echo $(($(register virtio.device_status)))
}

is_reset() {
    [ "$(status)" = 0 ]
}

# A fresh device, up to DRIVER (virtio 1.2, 3.1.1).
fresh() {
    register virtio.device_status 0
    wait_for 10 is_reset || fail "a reset does not end"
    register virtio.device_status 1
    register virtio.device_status 3
}

# Features by their low and high words, then FEATURES_OK; whether the device took them.
negotiate() {
    register virtio.driver_feature_select 0
    register virtio.driver_feature "$1"
    register virtio.driver_feature_select 1
    register virtio.driver_feature "$2"
    register virtio.device_status 11
    [ $(($(status) & 8)) = 8 ]
}

# One queue: `queue INDEX SIZE ADDRESS`, each of its three areas there.
queue() {
    register virtio.queue_select "$1"
    register virtio.queue_size "$2"
    for area in desc driver device; do
        register virtio.queue_${area}_low $(($3 & 0xffffffff))
        register virtio.queue_${area}_high $(($3 >> 32 & 0xffffffff))
    done
    register virtio.queue_enable 1
}

echo "$SLOT" >$driver/unbind
setpci -s "$SLOT" COMMAND=6:6

fresh
negotiate 0xffffffff 0xffffffff && fail "all features taken" || pass "all features are refused"
fresh
negotiate 0 0 && fail "no VERSION_1 taken" || pass "no VERSION_1 is refused"

for size in 0 3 0xffff 0x8000; do
    fresh
    negotiate 0 1 || fail "VERSION_1 alone is refused"
    queue 0 $size 0x1000000
    register virtio.device_status 15
    echo "queue size $size: status $(status), enabled $(register virtio.queue_enable)"
    check "management after a queue of size $size" management_lives
done
for address in 0x1000001 0xfffffffffffff000 0x7fffffff0000 0xfee00000; do
    fresh
    negotiate 0 1
    queue 0 16 $((address))
    queue 1 16 $((address))
    register virtio.device_status 15
    register virtio.notify 0
    register virtio.notify+4 1
    sleep 0.3
    echo "rings at $address: status $(status)"
    check "management after rings at $address" management_lives
done

fresh
negotiate 0 1
for index in 9 64 0xffff; do
    queue $index 16 0x1000000
    equal "size of queue $index" "$(($(register virtio.queue_size)))" 0
done
register virtio.device_status 15
i=0
while [ $i -lt 33 ]; do
    register virtio.notify+$((4 * i)) $((i + 0xfff0000))
    i=$((i + 1))
done
check "management after doorbells of queues that are not there" management_lives

# Everywhere, whatever it is.
fresh
offset=0
while [ $offset -lt 64 ]; do
    register virtio.device_feature_select+$offset 0xffffffff
    offset=$((offset + 4))
done
for offset in 0x800 0x1004 0x2010 0x3100 0x3ffc; do
    register virtio.device_feature_select+$((offset)) 0xdeadbeef
    register virtio.device_feature_select+$((offset)) >/dev/null
done
check "management after all ones everywhere" management_lives
echo "all ones everywhere: status $(status)"
register virtio.device_status 0
check "the device is reset" wait_for 10 is_reset

bind() {
    echo "$SLOT" >$driver/bind && interface_up
}
check "the kernel's driver binds" bind
check "$PEER answers" wait_for 30 peer_answers
equal "answers to a flood of 100" "$(answered 100 -q -f -W 20)" 100
equal "complaints of tools" "$(grep -c . /tmp/complaints)" 0
cat /tmp/complaints
if find_management >/dev/null; then
    at_least "errors that the device has counted" "$(counter errors.total)" 1
fi
finish
