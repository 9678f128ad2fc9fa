# Every function's configuration space, as a driver writer sees it: the walk of the capabilities
# ends, no header is unknown, sizes are those of the device.
. /etc/tailrace/lib.sh

bus=${SLOT%.*}
count=0
for path in /sys/bus/pci/devices/"$bus".*; do
    function=$(basename "$path")
    count=$((count + 1))
    lspci -vvv -nn -s "$function" >/tmp/lspci 2>/tmp/complaints
    cat /tmp/lspci
    equal "$function, complaints of lspci" "$(grep -c . /tmp/complaints)" 0
    cat /tmp/complaints
    equal "$function, unknown things" \
        "$(grep -ciE 'unknown header|<unassigned>|\[virtual\]|\[disabled\]|chain (looped|broken)|<access denied>|!!!' /tmp/lspci)" 0
    for capability in "Power Management" "MSI-X: Enable" "Express"; do
        at_least "$function, $capability" "$(grep -c "$capability" /tmp/lspci)" 1
    done
    at_least "$function, BAR" "$(grep -cE 'Region 0: Memory at .*64-bit' /tmp/lspci)" 1
    lspci -xxxx -s "$function" >/tmp/space
    equal "$function, bytes of configuration space" \
        "$(grep -E '^[0-9a-f]+: ' /tmp/space | wc -l)" 256
done
lspci -vvv -s "$SLOT" >/tmp/lspci
for structure in CommonCfg Notify ISR DeviceCfg "<unknown>"; do
    at_least "virtio structure $structure" "$(grep -c "VirtIO: $structure" /tmp/lspci)" 1
done
at_least "functions" "$count" 1
finish
