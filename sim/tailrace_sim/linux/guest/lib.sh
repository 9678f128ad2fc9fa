# Functions for all scripts of a guest.
# Variables: ROLE, ADDRESS, PEER (address of the guest at the other end, or empty), CPUS, RINGS,
# WITHHELD (features that the device is not to offer), WIRE (what is at the port), SLOT and NIC of
# the network function.

# A line to the host.
tell() {
    echo "$*" >/dev/ttyS1
}

# Wait until a command succeeds: `wait_for SECONDS COMMAND...`.
wait_for() {
    _end=$(($(cut -d. -f1 /proc/uptime) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt "$_end" ] || return 1
        sleep 0.1
    done
}

# Slot of the first network device on the bus of ours, by its PCI address.
find_slot() {
    for _path in /sys/bus/pci/devices/*; do
        case "$(cat "$_path/vendor"):$(cat "$_path/device")" in
        0x1af4:0x1041)
            basename "$_path"
            return
            ;;
        esac
    done
    return 1
}

# Name of its interface, once a driver is bound.
find_interface() {
    for _path in /sys/bus/pci/devices/"$SLOT"/virtio*/net/*; do
        [ -e "$_path" ] || continue
        basename "$_path"
        return
    done
    return 1
}

has_carrier() {
    [ "$(cat "/sys/class/net/$NIC/carrier" 2>/dev/null)" = 1 ]
}

# Function 0 of our device, if it is plugged in.
find_management() {
    _path=/sys/bus/pci/devices/${SLOT%.*}.0
    [ "${SLOT##*.}" != 0 ] && [ -e "$_path" ] && echo "$_path"
}

# Value of a register, in hexadecimal, or write it: `register BLOCK.NAME[+OFFSET] [VALUE]`.
# The table of them is made of the gateware's own description.
register() {
    _name=${1%+*}
    read -r _ _function _offset _bits _ <<END
$(grep "^$_name " /etc/tailrace/registers)
END
    [ -n "$_offset" ] || {
        echo "no register $_name" >&2
        return 1
    }
    [ "$_name" = "$1" ] || _offset=$((_offset + ${1#*+}))
    _path=/sys/bus/pci/devices/$SLOT
    [ "$_function" = 1 ] || _path=$(find_management) || return 1
    _bar=$(head -n 1 "$_path/resource" | cut -d' ' -f1)
    _at=$((_bar + _offset))
    [ "$_bits" = 64 ] || {
        devmem $_at "$_bits" $2
        return
    }
    # Two accesses, the low half first: that holds the high one.
    if [ -n "$2" ]; then
        devmem $_at 32 $(($2 & 0xffffffff))
        devmem $((_at + 4)) 32 $(($2 >> 32 & 0xffffffff))
    else
        _low=$(devmem $_at 32)
        printf '0x%x\n' $(($(devmem $((_at + 4)) 32) << 32 | _low))
    fi
}

# The same as a decimal number.
counter() {
    echo $(($(register "$1")))
}

# Whether function 0 still answers, if it is there.
management_lives() {
    find_management >/dev/null || return 0
    [ "$(register identity.magic)" = 0x43524C54 ]
}

# Tell the device which features not to offer; needs function 0.
withhold() {
    _path=$(find_management) || {
        echo "function 0 is not there to withhold features with"
        return 1
    }
    # Memory accesses on; a function without a driver has them off.
    setpci -s "$(basename "$_path")" COMMAND=2:2
    register virtio_net0.features_withheld "$1"
}

# Load the driver and give the interface its address; sets SLOT and NIC.
network_up() {
    SLOT=$(find_slot) || {
        echo "no virtio network device on the PCI bus"
        return 1
    }
    find_management >/dev/null && setpci -s "${SLOT%.*}.0" COMMAND=2:2
    [ "$((WITHHELD))" = 0 ] || withhold "$WITHHELD" || return 1
    interface_up
}

# Have a driver bound to SLOT and give the interface its address; sets NIC.
interface_up() {
    modprobe -a af_packet virtio_pci virtio_net
    wait_for 60 find_interface || {
        echo "no driver has bound to $SLOT"
        return 1
    }
    NIC=$(find_interface)
    export SLOT NIC
    # Nothing but what a script sends is on the wire.
    echo 1 >"/proc/sys/net/ipv6/conf/$NIC/disable_ipv6" 2>/dev/null
    ip link set "$NIC" up
    ip addr add "$ADDRESS/24" dev "$NIC" 2>/dev/null
    wait_for 60 has_carrier || {
        echo "$NIC has no carrier"
        return 1
    }
}

peer_answers() {
    ping -q -c 1 -W 2 "$PEER"
}

# Answers to pings so far, as the kernel counts them.
answers() {
    awk '$1 == "Icmp:" && !seen { split($0, names); seen = 1; next }
        $1 == "Icmp:" { for (i in names) if (names[i] == "InEchoReps") print $i }' /proc/net/snmp
}

have_answers() {
    [ "$(answers)" -ge "$1" ]
}

# How many of so many pings are answered: `answered COUNT OPTION...`. Once one has been, ping waits
# for the last ones no longer than two round trips; on a busy machine an answer may come later.
answered() {
    _before=$(answers) _count=$1
    shift
    ping -c "$_count" "$@" "$PEER" >/tmp/ping
    wait_for 20 have_answers $((_before + _count))
    echo $(($(answers) - _before))
}

# Run a command line in the guest at the other end; its output.
peer() {
    echo "$*" | nc -w 20 "$PEER" 7777
}

# Tell the simulation, by way of the host: `wire link down`, `wire link up`; `wire play` if there is
# a capture at the port. It does not wait.
wire() {
    tell "wire $*"
}

# Results of a check: `pass WHAT FIGURE`, `fail WHAT WHY`, `check WHAT COMMAND...`, `finish`.
FAILED=0
CHECKED=0
pass() {
    CHECKED=$((CHECKED + 1))
    echo "PASS $*"
}

fail() {
    CHECKED=$((CHECKED + 1))
    FAILED=$((FAILED + 1))
    echo "FAIL $*"
}

check() {
    _what=$1
    shift
    if "$@" >/tmp/check 2>&1; then
        pass "$_what"
    else
        fail "$_what: $(tail -n 1 /tmp/check)"
    fi
}

# Whether two figures are the same: `equal WHAT FIGURE WANTED`.
equal() {
    if [ "$2" = "$3" ]; then
        pass "$1: $2"
    else
        fail "$1: $2, expected $3"
    fi
}

# Whether a figure is large enough: `at_least WHAT FIGURE LEAST`.
at_least() {
    if [ "${2:-0}" -ge "$3" ] 2>/dev/null; then
        pass "$1: $2"
    else
        fail "$1: ${2:-nothing}, expected $3 or more"
    fi
}

# The end of a script: it has failed if a check has, or if there was none.
finish() {
    echo "$((CHECKED - FAILED)) of $CHECKED checks passed"
    [ "$CHECKED" -gt 0 ] && [ "$FAILED" = 0 ]
    exit $?
}
