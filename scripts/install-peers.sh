#!/bin/bash
# Installs the switches to which vswitchd is compared, in measurements and in the long end-to-end
# tests, in addition to DPDK's testpmd, which install-lab.sh installs. Does nothing for software that
# is already present.
#
#   build/lab/ovs/COMMAND   Open vSwitch with DPDK: ovs-vswitchd, ovsdb-server, ovsdb-tool, ovs-vsctl, ovs-appctl, ovs-ofctl
#   build/lab/ovs/vswitch.ovsschema

. "$(dirname "$0")/lib.sh"

ABOUT='getting the switches to compare with; takes about two minutes'

OVS=$LAB/ovs
COMMANDS='ovs-vswitchd ovsdb-server ovsdb-tool ovs-vsctl ovs-appctl ovs-ofctl'

ovs_runs() {
	local command
	for command in $COMMANDS; do
		"$OVS/$command" --version >/dev/null 2>&1 || return 1
	done
	[[ $("$OVS/ovs-vswitchd" --version) == *DPDK* ]] && [ -e "$OVS/vswitch.ovsschema" ]
}

# link_ovs makes build/lab/ovs run the machine's own Open vSwitch if that has DPDK, else one from
# the private apt. Open vSwitch is not installed, because the package would start a switch.
link_ovs() {
	[ -L "$OVS/ovs-vswitchd" ] || [ ! -d "$LAB/tree/ovs" ] || wrap_ovs
	ovs_runs && return
	lock
	rm -rf "$OVS"
	mkdir -p "$OVS"
	local dpdk=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk command
	if [ -x "$dpdk" ] && have ovs-vsctl; then
		ln -s "$dpdk" "$OVS/ovs-vswitchd"
		for command in ${COMMANDS#ovs-vswitchd }; do
			ln -s "$(command -v "$command")" "$OVS/$command"
		done
		ln -s /usr/share/openvswitch/vswitch.ovsschema "$OVS/vswitch.ovsschema"
	else
		private_apt
		unpack "$LAB/tree/ovs" openvswitch-switch-dpdk openvswitch-switch $(private_packages '^librte-(mempool-ring|bus-vdev|bus-pci|net-af-packet)-?[0-9]+$')
		wrap_ovs
		run ovsdb-server usr/sbin/ovsdb-server
		for command in ovsdb-tool ovs-vsctl ovs-appctl ovs-ofctl; do
			run "$command" "usr/bin/$command"
		done
		ln -s ../tree/ovs/usr/share/openvswitch/vswitch.ovsschema "$OVS/vswitch.ovsschema"
	fi
	ovs_runs || die "the unpacked Open vSwitch does not run: $("$OVS/ovs-vswitchd" --version 2>&1 | head -n 3)"
}

# run NAME PROGRAM makes build/lab/ovs/NAME run a program of the unpacked tree with that tree's
# libraries.
run() {
	cat >"$OVS/$1" <<-EOF
		#!/bin/sh
		tree=\$(dirname "\$(readlink -f "\$0")")/../tree/ovs
		export LD_LIBRARY_PATH="\$(echo "\$tree"/usr/lib/*-linux-gnu):\$(echo "\$tree"/lib/*-linux-gnu)"
		exec "\$tree/$2" "\$@"
	EOF
	chmod +x "$OVS/$1"
}

# wrap_ovs is for a tree of an earlier run of this script as well: what wrap_dpdk writes may have
# changed.
wrap_ovs() {
	wrap_dpdk "$OVS/ovs-vswitchd" ../tree/ovs usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk \
		bus_vdev bus_pci mempool_ring net_af_packet
}

mkdir -p "$OVS"
link_ovs
