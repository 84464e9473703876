#!/bin/bash
# Installs the software for the end-to-end tests and the demo, unless it is already present.
#
#   build/lab/qemu-10       runs QEMU 10 or newer
#   build/lab/qemu-7.2      runs QEMU 7.2, on Debian 12
#   build/lab/dpdk-testpmd  runs DPDK's traffic generator with its virtio-user and vhost drivers
#   build/lab/promtool      checks metrics and alerts for Prometheus, which is in
#                           build/lab/tree/prometheus unless the machine has it
#   build/lab/linux.uml     User Mode Linux, on amd64; its modules are in build/lab/tree/linux.uml
#   build/kernel            a Debian cloud kernel, unpacked

. "$(dirname "$0")/lib.sh"

ABOUT='getting what the lab lacks on this machine; all of it takes five to ten minutes'

# Each command and the package that contains it.
needed='
	qemu-system-x86_64 qemu-system-x86
	ip                 iproute2
	ethtool            ethtool
	iperf3             iperf3
	ping               iputils-ping
	tcpdump            tcpdump
	dnsmasq            dnsmasq-base
	busybox            busybox-static
	modprobe           kmod
	cpio               cpio
	xz                 xz-utils
	zstd               zstd
	virsh              libvirt-clients
	libvirtd           libvirt-daemon
'

install_commands() {
	local command package absent=()
	while read -r command package; do
		[ -z "$command" ] || have "$command" || absent+=("$package")
	done <<<"$needed"
	# libvirt's driver for QEMU is not a command, and some releases have it in a separate package.
	compgen -G '/usr/lib/*-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so' >/dev/null || absent+=(libvirt-daemon-driver-qemu)
	[ ${#absent[@]} = 0 ] || apt_install "${absent[@]}"
}

# link_testpmd: Debian has dpdk-testpmd in the package of one release's development tools and
# hundreds of dependencies. Only the libraries that the program loads, and the drivers named here,
# are fetched.
link_testpmd() {
	local run=$LAB/dpdk-testpmd tree=$LAB/tree/dpdk-testpmd program package libraries
	[ ! -x "$tree/usr/bin/dpdk-testpmd" ] || wrap_testpmd
	testpmd_runs "$run" && return
	lock
	rm -f "$run"
	if program=$(command -v dpdk-testpmd) && testpmd_runs "$program"; then
		ln -s "$program" "$run"
		return
	fi
	private_apt
	for package in dpdk-dev dpdk; do # point releases differ in which has it
		unpack_only "$tree" "$package"
		[ ! -x "$tree/usr/bin/dpdk-testpmd" ] || break
	done
	[ -x "$tree/usr/bin/dpdk-testpmd" ] || die "Debian's DPDK has no dpdk-testpmd here"

	# librte_net_i40e.so.23 is in librte-net-i40e23, librte_net_e1000.so.23 in librte-net-e1000-23.
	libraries=$(private_packages "^librte-(net-virtio|net-vhost|net-tap|mempool-ring|bus-vdev|bus-pci)-?[0-9]+$")
	# The libraries of a DPDK that is installed are of no use: see wrap_dpdk.
	libraries+=" $(ldd "$tree/usr/bin/dpdk-testpmd" | awk '/^\tlibrte_/ || /not found/ { print $1 }' |
		tr _ - | sed -nE 's/^(librte-.*[0-9])\.so\.([0-9]+)$/\1-\2/p; t; s/^(librte-.*)\.so\.([0-9]+)$/\1\2/p' | tr '\n' ' ')"
	unpack "$tree.libraries" $libraries
	cp -a "$tree.libraries/." "$tree"
	rm -rf "$tree.libraries"
	wrap_testpmd
	testpmd_runs "$run" || die "the unpacked dpdk-testpmd does not run: $("$run" --help 2>&1 | head -n 3)"
}

# wrap_testpmd is for a tree of an earlier run of this script as well: what wrap_dpdk writes may
# have changed.
wrap_testpmd() { wrap_dpdk "$LAB/dpdk-testpmd" tree/dpdk-testpmd usr/bin/dpdk-testpmd bus_vdev bus_pci mempool_ring net_virtio net_vhost net_tap; }

testpmd_runs() { [[ $("$1" --help 2>&1) == *"EAL common options"* ]]; }

# link_uml: Debian's User Mode Linux depends only on the C library.
link_uml() {
	local run=$LAB/linux.uml tree=$LAB/tree/linux.uml
	uml_runs "$run" && return
	lock
	rm -f "$run"
	private_apt
	unpack_only "$tree" user-mode-linux
	ln -s "tree/linux.uml/usr/bin/linux.uml" "$run"
	uml_runs "$run" || die "the unpacked User Mode Linux does not run: $("$run" --version 2>&1)"
}

uml_runs() { [[ $("$1" --version 2>&1) =~ ^[0-9]+\. ]]; }

# link_promtool: Prometheus is not installed, because its package starts a server.
link_promtool() {
	local run=$LAB/promtool program
	promtool_runs "$run" && return
	lock
	rm -f "$run"
	if program=$(command -v promtool) && promtool_runs "$program"; then
		ln -s "$program" "$run"
		return
	fi
	private_apt
	[ -e "$LAB/tree/prometheus" ] || unpack_only "$LAB/tree/prometheus" prometheus
	ln -s tree/prometheus/usr/bin/promtool "$run"
	promtool_runs "$run" || die "the unpacked promtool does not run: $("$run" --version 2>&1)"
}

promtool_runs() { [[ $("$1" --version 2>/dev/null) == *promtool* ]]; }

# unpack_kernel: the release's own kernel where it is 6.12 or newer, else that of the backports.
unpack_kernel() {
	compgen -G "$BUILD/kernel/boot/vmlinuz-*" >/dev/null && return
	lock
	private_apt
	local suite package packages
	for suite in "$SUITE" "$NEWEST"; do
		package=$(private_depends "$suite" linux-image-cloud-amd64 '^linux-image-[0-9]')
		[ -n "$package" ] || die "Debian has no linux-image-cloud-amd64 here"
		! printf 'linux-image-6.12\n%s\n' "$package" | sort -CV || break
	done
	# Newer versions have the image and the modules in separate packages.
	packages=$(private_depends "$suite" "$package" '^linux-(binary|modules)-[0-9]')
	unpack_only "$BUILD/kernel" "$package" $packages
	[ -e "$BUILD/kernel/lib/modules" ] || ln -s usr/lib "$BUILD/kernel/lib" # where Debian 13 has them
}

mkdir -p "$LAB/tree"
install_commands
link_qemu qemu-10 x86_64 qemu-system-x86 '1[0-9]\.|[2-9][0-9]\.' || die "no QEMU 10 or newer, neither installed nor in Debian's sources"
# Only Debian 12 has QEMU 7.2; on other releases tests run only with the newer version.
[ "$(. /etc/os-release && echo "${VERSION_ID:-}")" != 12 ] || link_qemu qemu-7.2 x86_64 qemu-system-x86 '7\.2' || die "no QEMU 7.2 in Debian's sources"
unpack_kernel
link_testpmd
link_promtool
# A port of Linux to its own system calls, which there is for this architecture.
[ "$(dpkg --print-architecture)" != amd64 ] || link_uml
