#!/bin/bash
# Runs a QEMU guest on ports of vswitchd, with plain QEMU options:
#
#   qemu-examples/guest.sh SOCKET MAC [SOCKET MAC]... [QEMU OPTION...]
#   qemu-examples/guest.sh /run/vswitchd/vm1.sock 52:54:00:00:00:01 -nographic -drive file=debian.qcow2,if=virtio
#
# The guest has a network device for each SOCKET, with the address MAC.
#
# QEMU=program and ACCEL=auto|kvm|tcg choose how; by default qemu-system-x86_64, and kvm where
# /dev/kvm can be opened. A few machines open it although guests hang under it: there, set
# ACCEL=tcg.
#
# Who listens on the socket? vswitchd does, unless the port has mode = "client". QEMU then connects,
# and must be told to do so again when vswitchd has been restarted: that is reconnect. The other way
# round, with mode = "client", QEMU listens:
#
#   -chardev socket,id=port,path=SOCKET,server=on,wait=off
#
# QEMU then starts the guest once vswitchd has connected; vswitchd retries without a limit, so
# either may be started first, and neither needs reconnect. Choose this where QEMU runs as a user
# who may not write to vswitchd's folder.

set -euo pipefail
usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }

qemu=${QEMU:-qemu-system-x86_64}
if [ "${ACCEL:-auto}" = auto ]; then
	if [ -w /dev/kvm ]; then ACCEL=kvm; else ACCEL=tcg; fi
fi

# QEMU 9.2 and newer count milliseconds. After a restart of vswitchd, a guest resumes after this
# time.
reconnect=reconnect-ms=200 device_options= emulated_cpu=qemu64
read -r major minor < <("$qemu" --version | sed -nE '1s/.* version ([0-9]+)\.([0-9]+).*/\1 \2/p')
if ((major < 9 || major == 9 && minor < 2)); then
	reconnect=reconnect=1
	# Under emulation, QEMU 7.2 crashes when a guest enables MSI-X on a vhost-user device, and the
	# guest may crash when an interrupt comes right after the instruction cmpxchg16b.
	if [ "$ACCEL" = tcg ]; then device_options=,vectors=0 emulated_cpu=qemu64,-cx16; fi
fi
cpu=host
if [ "$ACCEL" = tcg ]; then cpu=$emulated_cpu; fi

devices=()
while [[ ${1:--} != -* ]]; do
	[ $# -ge 2 ] || usage
	n=$((${#devices[@]} / 6))
	devices+=(
		-chardev "socket,id=port$n,path=$1,$reconnect"
		-netdev "vhost-user,id=net$n,chardev=port$n,queues=1"
		-device "virtio-net-pci,netdev=net$n,mac=$2,romfile=$device_options"
	)
	shift 2
done
((${#devices[@]} > 0)) || usage

# The guest's memory must be a shared mapping of a file: vswitchd maps it too. No hugepages are
# needed.
exec "$qemu" \
	-accel "$ACCEL" -cpu "$cpu" -m 512M \
	-object memory-backend-memfd,id=memory,size=512M,share=on \
	-machine q35,memory-backend=memory \
	"${devices[@]}" "$@"
