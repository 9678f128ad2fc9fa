#!/usr/bin/bash
# The guest's first process. What it has to tell the host goes to the second serial port, a line
# each: the console is the user's.
export PATH=/usr/bin:/bin HOME=/root TERM=linux
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
# `reset` of lspci and others needs nothing else; the kernel's own lines stay in dmesg.
dmesg -n 4
. /etc/tailrace/environment
. /etc/tailrace/lib.sh
tell boot
ip link set lo up
ip addr add 127.0.0.1/8 dev lo 2>/dev/null
sh "/etc/tailrace/$ROLE.sh"
sync
poweroff -f
