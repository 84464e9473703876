package compare

import (
	"time"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
)

// A starter starts a kind of back-end.
type starter struct {
	name  string
	ours  bool // a vswitchd
	takes part
	start func(*peer.Lab, peer.Options) (peer.BackEnd, error)
}

// part is what a back-end is measured with.
type part int

const (
	all     part = iota
	guests       // traffic between guests
	wire         // traffic between a guest and a wire
	singles      // frames between guests, one by one
	silence      // how long it takes after silence
)

// takesPart reports whether a back-end is measured with a kind of scenarios.
func (s *starter) takesPart(k kind) bool {
	switch s.takes {
	case guests:
		return k != wired
	case wire:
		return k == wired
	case singles:
		return k == offered || k == hot || k == asleep
	case silence:
		return k == asleep
	}
	return true
}

// starters are all back-ends, ours first.
var starters = []starter{
	{"vswitchd", true, all, peer.StartVswitchd},
	{"OVS-DPDK", false, all, peer.StartOVS},
	{"DPDK vhost", false, guests, peer.StartBare},
	{"Linux bridge", false, wire, peer.StartBridge},
	{"bridge and taps", false, singles, peer.StartTaps},
	{"eventfd and epoll", false, silence, peer.StartSleeper},
}

// A kind of scenario says what is measured, and in which unit.
type kind int

const (
	saturated kind = iota // frames per second, in millions
	foreign               // the same, with testpmd as the generator
	wired                 // the same between a guest and a namespace behind the uplink
	offered               // share of a processor, in percent
	hot                   // time, in microseconds, the back-end being busy
	asleep                // the same after a pause
)

// A scenario is one thing that is measured.
type scenario struct {
	name    string
	main    bool // even when in a hurry
	alone   bool // vswitchd alone: how it scales
	kind    kind
	options peer.Options // scenarios with the same, of the same kind of generator, run on the same process
	guest   load.Config
	traffic load.Traffic
	inbound bool          // of wired: to the guest
	pps     float64       // of offered
	quiet   time.Duration // of asleep

	load peer.Load // of foreign

	percentile float64 // of hot and asleep; 0: 50
}

const (
	small = 64
	large = 1500
	gso   = 65226 // 45 segments
	few   = 256   // flows: one for each entry of a ring, so that the generator need not touch a frame
	many  = 1024  // the same for large rings
)

var (
	pair = peer.Options{Ports: 2}
	tso  = peer.Options{Ports: 2, Offloads: true}
	ring = load.Config{Ring: 1024}

	edge    = peer.Options{Ports: 1, Uplink: true}
	edgeTSO = peer.Options{Ports: 1, Uplink: true, Offloads: true}

	village = peer.Options{Ports: 100}
	crowd   = peer.Options{Ports: 256}
	town    = peer.Options{Ports: 2, MACs: 1_000_000}
)

// scenarios has all scenarios. The sizes of frames are in bytes in memory, without FCS.
var scenarios = []scenario{
	{name: "64 B, both ways, 256 flows", main: true, options: pair, traffic: load.Traffic{Size: small, Flows: few, Both: true}},
	{name: "1500 B, both ways, 256 flows", main: true, options: pair, traffic: load.Traffic{Size: large, Flows: few, Both: true}},
	{name: "64 B, both ways, 1 flow", options: pair, traffic: load.Traffic{Size: small, Both: true}},
	{name: "1500 B, both ways, 1 flow", options: pair, traffic: load.Traffic{Size: large, Both: true}},
	{name: "64 B, one way, 256 flows", options: pair, traffic: load.Traffic{Size: small, Flows: few}},
	{name: "1500 B, one way, 256 flows", options: pair, traffic: load.Traffic{Size: large, Flows: few}},
	{name: "64 B, rings of 1024, both ways, 1024 flows", options: pair, guest: ring, traffic: load.Traffic{Size: small, Flows: many, Both: true}},
	{name: "1500 B, rings of 1024, both ways, 1024 flows", options: pair, guest: ring, traffic: load.Traffic{Size: large, Flows: many, Both: true}},
	{name: "64 B, rings of 1024, both ways, 1000 addresses each", options: pair, guest: ring, traffic: load.Traffic{Size: small, Flows: 1000, MACs: 1000, Both: true}},
	{name: "1500 B, both ways, every frame freshly written", options: pair, traffic: load.Traffic{Size: large, Flows: many, Both: true}},
	{name: "64 KiB TCP, both ways", options: tso, guest: load.Config{Offloads: true}, traffic: load.Traffic{Shape: load.GSO, Size: gso, Both: true}},

	{name: "64 B, both ways, 256 flows, 256 guests attached", alone: true, options: crowd, traffic: load.Traffic{Size: small, Flows: few, Pairs: 1, Both: true}},
	{name: "64 B, both ways, 256 flows, 98 other guests storm with broadcasts", alone: true, options: village,
		traffic: load.Traffic{Size: small, Flows: few, Pairs: 1, Both: true, Storm: true}},
	{name: "64 B, rings of 1024, both ways, 500,000 addresses each", alone: true, options: town, guest: ring,
		traffic: load.Traffic{Size: small, Flows: 500_000, MACs: 500_000, Both: true}},

	{name: "64 B, 1024 flows, as much as the rings take", kind: foreign, load: peer.FlowGen, options: pair, traffic: load.Traffic{Size: small}},
	{name: "1500 B, 1024 flows, as much as the rings take", kind: foreign, load: peer.FlowGen, options: pair, traffic: load.Traffic{Size: large}},
	{name: "64 B, 256 frames to and fro", kind: foreign, load: peer.ClosedLoop, options: pair, traffic: load.Traffic{Size: small}},
	{name: "1500 B, 256 frames to and fro", kind: foreign, load: peer.ClosedLoop, options: pair, traffic: load.Traffic{Size: large}},

	{name: "64 B, to the namespace", main: true, kind: wired, options: edge, traffic: load.Traffic{Size: small, Flows: few}},
	{name: "64 B, from the namespace", main: true, kind: wired, inbound: true, options: edge, traffic: load.Traffic{Size: small, Flows: few}},
	{name: "1500 B, to the namespace", kind: wired, options: edge, traffic: load.Traffic{Size: large, Flows: few}},
	{name: "1500 B, from the namespace", kind: wired, inbound: true, options: edge, traffic: load.Traffic{Size: large, Flows: few}},
	{name: "64 KiB TCP, to the namespace", kind: wired, options: edgeTSO, guest: load.Config{Offloads: true},
		traffic: load.Traffic{Shape: load.GSO, Size: gso}},
	{name: "64 KiB TCP, from the namespace", kind: wired, inbound: true, options: edgeTSO, guest: load.Config{Offloads: true},
		traffic: load.Traffic{Shape: load.GSO, Size: gso}},

	{name: "64 B, 1,000 frames/s", kind: offered, pps: 1e3, options: pair, traffic: load.Traffic{Size: small, Flows: few, Both: true}},
	{name: "64 B, 10,000 frames/s", kind: offered, pps: 1e4, options: pair, traffic: load.Traffic{Size: small, Flows: few, Both: true}},
	{name: "64 B, 100,000 frames/s", main: true, kind: offered, pps: 1e5, options: pair, traffic: load.Traffic{Size: small, Flows: few, Both: true}},
	{name: "64 B, 1,000,000 frames/s", kind: offered, pps: 1e6, options: pair, traffic: load.Traffic{Size: small, Flows: few, Both: true}},
	{name: "1500 B, 500,000 frames/s", kind: offered, pps: 5e5, options: pair, traffic: load.Traffic{Size: large, Flows: few, Both: true}},

	{name: "64 B, busy, half of all frames", main: true, kind: hot, options: pair, traffic: load.Traffic{Size: small, Both: true}},
	{name: "64 B, busy, 99 % of all frames", kind: hot, percentile: 99, options: pair, traffic: load.Traffic{Size: small, Both: true}},
	{name: "64 B, after 1 ms of silence, half of all frames", kind: asleep, quiet: time.Millisecond, options: pair, traffic: load.Traffic{Size: small, Both: true}},
	{name: "64 B, after 1 ms of silence, 99 % of all frames", kind: asleep, percentile: 99, quiet: time.Millisecond, options: pair, traffic: load.Traffic{Size: small, Both: true}},
}
