package vswitch

import (
	"cmp"
	"slices"
	"time"
)

// LoopEvent is a kind of event in loop detection.
type LoopEvent uint8

// Each event is counted at the port that it is about (Counters.Loops). All but LoopBlocks count
// probes.
const (
	LoopProbes   LoopEvent = iota // sent to the port
	LoopReturned                  // came in by the port, and show a loop
	LoopUncut                     // of these: no port is blocked, see Switch.LoopReports
	LoopIgnored                   // came in by the port and show nothing: forged, too old, from another VLAN
	LoopBlocks                    // the port was blocked, or its time prolonged
	numLoopEvents
)

var loopEventNames = [numLoopEvents]string{
	LoopProbes:   "probes",
	LoopReturned: "returned",
	LoopUncut:    "uncut",
	LoopIgnored:  "ignored",
	LoopBlocks:   "blocks",
}

// Loops returns how often each event of loop detection has happened at this port, by the name of
// the event; zeros included.
func (c *Counters) Loops() map[string]uint64 {
	var n [numLoopEvents]uint64
	loadAll(n[:], c.loops[:])
	return byName(n[:], loopEventNames[:])
}

func (v *portView) count(e LoopEvent) { v.counters.loops[e].Add(1) }

// A LoopChange is what a LoopReport is about.
type LoopChange uint8

// Values of LoopChange.
const (
	LoopBlocked  LoopChange = iota // a port has been blocked
	LoopRemains                    // a port stays blocked: a probe has shown the loop again
	LoopReleased                   // a port is no longer blocked
	LoopSeen                       // probes came back, but no port is blocked for that
)

// A LoopReport is a change of a port's block, or a loop for which no port is blocked: because
// probes came back by the uplink that they were sent to, or because of PortConfig.LoopDetection.
type LoopReport struct {
	Change LoopChange
	Port   string
	Other  string // the other port of the loop; Port itself if the loop is behind that
	VLAN   uint16
	For    time.Duration // how long the port is blocked from now on
	Count  uint64        // of LoopSeen: probes since the last call
}

// maxLoopReports is the most changes that are kept for LoopReports. A port is blocked once in some
// seconds at most.
const maxLoopReports = 256

// LoopReports returns what has happened since the last call. There can be only one caller, which
// calls about once a second.
func (s *Switch) LoopReports() []LoopReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.loopReports
	s.loopReports = nil
	for _, a := range s.names {
		now := a.view.counters.loops[LoopUncut].Load()
		n := now - a.loop.reported
		a.loop.reported = now
		if n == 0 {
			continue
		}
		r := LoopReport{Change: LoopSeen, Port: a.view.cfg.Name, Count: n}
		r.Other, r.VLAN = s.uncut(a)
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b LoopReport) int { return cmp.Compare(a.Port, b.Port) })
	return list
}

// uncut returns the other port and the VLAN of the last probe that was counted as LoopUncut. Needs
// mu.
func (s *Switch) uncut(a *Attachment) (other string, vlan uint16) {
	last := a.loop.uncut.Load()
	if v := s.set.Load().get(portID(last >> 16)); v != nil {
		other = v.cfg.Name
	}
	return other, uint16(last)
}

// report stores a report of a change of a's block. Needs mu.
func (s *Switch) report(change LoopChange, a *Attachment, seconds uint32) {
	r := LoopReport{
		Change: change, Port: a.view.cfg.Name, Other: a.block.other.view.cfg.Name, VLAN: a.block.vlan,
		For: time.Duration(seconds) * time.Second,
	}
	if len(s.loopReports) < maxLoopReports {
		s.loopReports = append(s.loopReports, r)
	}
}
