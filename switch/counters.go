package vswitch

import (
	"slices"
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// Counters are the counters of one port. "Rx" counts what the switch received from the port, "Tx"
// what the switch sent to the port. Counters outlive the port's attachment, so that they go on when
// a guest comes back. All methods may be called from any goroutine; the data plane adds to a
// counter once for each batch, not for each frame.
type Counters struct {
	// Different workers may add to these pairs all the time.
	RxFrames, RxBytes atomic.Uint64
	_                 cpu.CacheLinePad
	TxFrames, TxBytes atomic.Uint64
	_                 cpu.CacheLinePad
	drops             [numDropReasons]atomic.Uint64
	fdb               [numFDBEvents]atomic.Uint64
	mcast             [numMcastEvents]atomic.Uint64
	neigh             [numNeighEvents]atomic.Uint64
	loops             [numLoopEvents]atomic.Uint64
	announced         atomic.Uint64
}

// FDB returns how often each event of the FDB has happened at this port.
func (c *Counters) FDB() (events FDBEvents) {
	loadAll(events[:], c.fdb[:])
	return events
}

// loadAll loads counters into counts.
func loadAll(counts []uint64, counters []atomic.Uint64) {
	for i := range counters {
		counts[i] = counters[i].Load()
	}
}

// nameOf returns the i-th name, or "unknown".
func nameOf[T ~uint8](i T, names []string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "unknown"
}

// byName returns counts, zeros included, by their names.
func byName(counts []uint64, names []string) map[string]uint64 {
	m := make(map[string]uint64, len(counts))
	for i, n := range counts {
		m[names[i]] = n
	}
	return m
}

// Drop counts n frames as dropped for reason r.
func (c *Counters) Drop(r DropReason, n int) {
	if n > 0 {
		c.drops[r].Add(uint64(n))
	}
}

// Drops returns how many frames were dropped for reason r.
func (c *Counters) Drops(r DropReason) uint64 { return c.drops[r].Load() }

// DropsByName returns all drop counters that are not zero, by the name of the reason.
func (c *Counters) DropsByName() map[string]uint64 {
	m := make(map[string]uint64)
	for r := range c.drops {
		if n := c.drops[r].Load(); n > 0 {
			m[DropReason(r).String()] = n
		}
	}
	return m
}

// DropReason is why a frame was dropped.
type DropReason uint8

// Reasons on the way in are counted at the port that the frame came from, reasons on the way out at
// the port that it was going to.
const (
	DropBadChain        DropReason = iota // in: a malformed descriptor chain
	DropTooShort                          // in: shorter than an Ethernet header
	DropTooLong                           // in: longer than MaxFrameLen
	DropBadOffload                        // in: an offload request that contradicts the frame
	DropReserved                          // in: to 01:80:C2:00:00:00-0F or of PVST+, without GroupFwdMask
	DropBadSource                         // in: multicast or zero source address
	DropNoDest                            // in: flooded to no port (flooding is off, or no other port)
	DropHost                              // in: to the host's own address; the host has the frame
	DropHairpin                           // in: the destination is behind the source port
	DropVLAN                              // in: source or destination port not in the frame's VLAN
	DropPolicy                            // in: a policy of the ports forbids it (isolation, communities)
	DropDisabled                          // in: the queue that the frame came from is disabled
	DropSourceDown                        // in: the port that the frame came from is down or detached
	DropDown                              // out: the port has no running guest, or no carrier
	DropRingFull                          // out: no receive buffers, or the socket's send buffer is full
	DropTooBig                            // out: larger than the port's MTU
	DropNoFit                             // out: larger than the receive buffers for one frame
	DropFault                             // out: an access to the port's memory failed
	DropPageAbsent                        // in, out: in a huge page of the port's memory that was absent
	DropSendError                         // out: the kernel returned an error
	DropFiltered                          // out: the guest's receive filter excludes the frame
	DropNoMember                          // in: to a group that no port wants (multicast snooping)
	DropOtherHost                         // in: from a non-promiscuous uplink, to an unknown address
	DropMACSpoofed                        // in: from a source address that is not allowed
	DropIPSpoofed                         // in: with an IP address that is not allowed
	DropDHCPGuard                         // in: from a DHCP server, which the port's guard forbids
	DropRAGuard                           // in: a router advertisement or redirect, likewise
	DropBPDUGuard                         // in: a BPDU, likewise
	DropGuardUnreadable                   // in: a packet that a guard of the port cannot judge
	DropLocked                            // in: from an address without a static FDB entry, by a locked port
	DropRateLimit                         // in: beyond the rate that the port may send
	DropStormControl                      // in: beyond the frames of the port that may be flooded
	DropEgressRate                        // out: beyond the rate that may be sent to the port
	DropMirrorOutput                      // in: from or to a port that is the output of a mirror
	DropBlackhole                         // in: to an address with a blackhole entry in the FDB
	DropFilter                            // in, out: by a rule, or the default, of a filter of the port
	DropUnreadable                        // in, out: likewise, since a field that the filter needs cannot be read
	DropNeighbor                          // in: a request for no port but those with NeighSuppress
	DropLoopBlocked                       // in, out: the port is blocked because of a loop
	DropLoopProbe                         // in: a probe of the switch, which has come back
	numDropReasons
)

var dropNames = [numDropReasons]string{
	DropBadChain:        "bad-chain",
	DropTooShort:        "too-short",
	DropTooLong:         "too-long",
	DropBadOffload:      "bad-offload",
	DropReserved:        "reserved-address",
	DropBadSource:       "bad-source",
	DropNoDest:          "no-destination",
	DropHost:            "to-host",
	DropHairpin:         "own-port",
	DropVLAN:            "vlan",
	DropPolicy:          "policy",
	DropDisabled:        "queue-disabled",
	DropSourceDown:      "source-down",
	DropDown:            "port-down",
	DropRingFull:        "ring-full",
	DropTooBig:          "too-big",
	DropNoFit:           "buffers-too-small",
	DropFault:           "memory-fault",
	DropPageAbsent:      "page-absent",
	DropSendError:       "send-error",
	DropFiltered:        "guest-filter",
	DropNoMember:        "no-member",
	DropOtherHost:       "other-host",
	DropMACSpoofed:      "mac-spoofed",
	DropIPSpoofed:       "ip-spoofed",
	DropDHCPGuard:       "dhcp-guard",
	DropRAGuard:         "ra-guard",
	DropBPDUGuard:       "bpdu-guard",
	DropGuardUnreadable: "guard-unreadable",
	DropLocked:          "locked",
	DropRateLimit:       "rate-limit",
	DropStormControl:    "storm-control",
	DropMirrorOutput:    "mirror-output",
	DropEgressRate:      "egress-rate",
	DropBlackhole:       "blackhole",
	DropFilter:          "filter",
	DropUnreadable:      "filter-unreadable",
	DropNeighbor:        "neigh-suppress",
	DropLoopBlocked:     "loop-blocked",
	DropLoopProbe:       "loop-probe",
}

// String returns the name under which the reason appears in counters, metrics and traces.
func (r DropReason) String() string { return nameOf(r, dropNames[:]) }

// DropReasons returns the names of all reasons.
func DropReasons() []string { return slices.Clone(dropNames[:]) }
