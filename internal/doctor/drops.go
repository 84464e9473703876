package doctor

import "strings"

// This file has the checks of reasons for drops. Frames that are dropped as they should be, such as
// those to reserved addresses or to the host itself, are no finding.

// A drop is what frames say that are dropped for a reason.
type drop struct {
	reason  string
	in      bool // counted at the port that the frames came from, not at their destination
	wanted  bool // by the configuration: the past is no finding
	problem string
	advice  []string // with {set} for the command that changes the port, {port} and {interface} for names
}

// id is the ID of the reason's check.
func (d *drop) id() string { return "drops-" + d.reason }

// look is how to see the frames that are dropped.
const look = "to see the frames: vswitchctl capture {port} --drops | tcpdump -r - -n -e"

// drops are the reasons that have a check. small-ring and ring-full are the check of guests' rings.
var drops = []drop{
	{"ring-full", false, false, "the interface does not take frames as fast as they come",
		[]string{"the link is slower than what guests send: egress_rate or ingress_policing_rate drop in a way that TCP adapts to", "ethtool -S {interface} has what the driver says"}},
	{"kernel-ring-full", true, false, "frames came in faster than a worker took them, or are of a kind that packet sockets do not get",
		[]string{"is a worker saturated? workers in [switch]", "SCTP of another namespace of this host: ethtool -K IFACE tx-sctp-segmentation off at the sender"}},
	{"too-big", false, false, "frames are larger than the port's MTU",
		[]string{"the same MTU in the whole network: mtu of guests' ports, ip link set IFACE mtu N of interfaces", look}},
	{"buffers-too-small", false, false, "frames do not fit into the guest's receive buffers",
		[]string{"the driver has buffers for its own MTU only: ip link set eth0 mtu N in the guest", "QEMU: no mrg_rxbuf=off in -device"}},
	{"page-absent", true, false, "huge pages of the guest's memory were not there when frames came",
		[]string{"QEMU: prealloc=on in -object memory-backend-...; libvirt: <allocation mode='immediate'/> in <memoryBacking>", "are there enough huge pages? grep Huge /proc/meminfo"}},
	{"memory-fault", false, false, "memory that the guest had shared is gone",
		[]string{"the file behind the guest's memory was truncated, or the host ran out of huge pages: grep Huge /proc/meminfo, journalctl -k"}},
	{"bad-chain", true, false, "the guest's driver makes descriptor chains that break the rules",
		[]string{"an error in the driver: another version of the guest's kernel or driver", "docs/limits.md says how many pieces a frame may have"}},
	{"bad-offload", true, false, "the guest asks for offloads that contradict its frames", []string{"an error in the guest's driver", look}},
	{"vlan", true, false, "frames are in a VLAN that the port, or the port of their destination, does not carry",
		[]string{"vswitchctl vlan show has the VLANs of all ports; {set} trunks=10,20 adds some", look}},
	{"policy", true, true, "isolation or communities keep frames from their destination",
		[]string{"vswitchctl port show has the ports that are isolated; {set} isolated=false", look}},
	{"mac-spoofed", true, false, "the guest sends from MAC addresses that allowed_macs does not allow",
		[]string{"a guest with a bridge, containers or bonding has several: {set} allowed_macs=MAC,MAC", look}},
	{"ip-spoofed", true, false, "the guest uses IP addresses that allowed_ips does not allow",
		[]string{"{set} allowed_ips=ADDRESS,PREFIX adds what is missing, IPv6 included", look}},
	{"locked", true, false, "the port is locked, and the source address of frames has no static entry of the port",
		[]string{"vswitchctl fdb add MAC {port}, or mac of the port; {set} locked=false", look}},
	{"dhcp-guard", true, true, "the guest answers as a DHCP server, which dhcp_guard forbids", []string{"if it is one: {set} dhcp_guard=false", look}},
	{"ra-guard", true, true, "the guest sends IPv6 router advertisements, which ra_guard forbids", []string{"if it is a router: {set} ra_guard=false", look}},
	{"bpdu-guard", true, true, "spanning tree messages come from the port, which bpdu_guard forbids", []string{"the guest has a bridge with spanning tree: turn that off there", look}},
	{"guard-unreadable", true, false, "packets cannot be judged by the port's guards", []string{"docs/layer2.md says which (Guards)", look}},
	{"filter", true, true, "a filter of the port drops frames",
		[]string{"vswitchctl filter show NAME counts the frames of each rule", "vswitchctl trace {port} --next shows which rule the next frame matches", look}},
	{"filter-unreadable", true, false, "a filter of the port drops frames that it cannot read", []string{"docs/layer2.md says which (Filters)", look}},
	{"rate-limit", true, true, "the port sends more than ingress_policing_rate or ingress_policing_pps allow",
		[]string{"{set} ingress_policing_rate=RATE; TCP needs a burst of about the rate times the round-trip time: ingress_policing_burst"}},
	{"egress-rate", false, true, "more is sent to the port than egress_rate allows", []string{"{set} egress_rate=RATE; TCP needs a burst of about the rate times the round-trip time: egress_burst"}},
	{"storm-control", true, true, "the port floods more frames than storm control allows", []string{"many broadcasts come from a loop, a scan or a broken program", "{set} storm_control_pps=N", look}},
	{"send-error", false, false, "the kernel refuses frames that are sent to the interface", []string{"journalctl -u vswitchd -p warning, and journalctl -k", "ethtool -S {interface}"}},
	{"blackhole", true, true, "frames are sent to an address that has a blackhole entry", []string{"vswitchctl fdb show has the entries; vswitchctl fdb del MAC removes one"}},
}

// check makes the reason's finding: frames were dropped between the samples, or before in a number
// that matters.
func (d *drop) check(p *patient) *Finding {
	if d.reason == "ring-full" && p.guest() {
		return nil
	}
	total, grew := p.drops(d.reason)
	passed := p.Counters.TxFrames
	if d.in {
		passed = p.Counters.RxFrames
	}
	severity := Warning
	switch {
	case grew == 0 && (d.wanted || !weighty(total, passed)):
		return nil
	case grew == 0, d.reason == "vlan" && !p.guest(): // other stations' VLANs may well come by an uplink
		severity = Note
	}
	var advice []string
	for _, a := range d.advice {
		advice = append(advice, strings.NewReplacer("{set}", p.set(""), "{port}", p.Name, "{interface}", p.Interface).Replace(a))
	}
	return finding(severity, d.problem, facts("dropped", total, "dropped_per_s", p.c.perSecond(grew), "frames", passed), advice...)
}
