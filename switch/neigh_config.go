package vswitch

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Configured neighbors, and listing all.

// ErrBadNeighbor is wrapped by the errors about a Neighbor.
var ErrBadNeighbor = errors.New("bad neighbor")

// A Neighbor is a configured entry of the neighbor table. It matters only while a port has
// PortConfig.NeighSuppress.
type Neighbor struct {
	IP     netip.Addr
	MAC    MAC
	VLAN   uint16
	All    bool // in every VLAN; VLAN is 0. An entry for one VLAN takes precedence
	Router bool // the station is an IPv6 router
}

// CheckNeighborIP returns why an IP address cannot be that of a neighbor.
func CheckNeighborIP(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() || !ipOf(a).isStation() {
		return fmt.Errorf("%w: %s is not the address of a station", ErrBadNeighbor, a)
	}
	return nil
}

func (n *Neighbor) check() error {
	switch {
	case !n.MAC.IsUnicast():
		return fmt.Errorf("%w: %s", ErrBadMAC, n.MAC)
	case n.VLAN > maxVID || n.All && n.VLAN != 0:
		return fmt.Errorf("%w: %d", ErrBadVLAN, n.VLAN)
	}
	return CheckNeighborIP(n.IP)
}

// A knownNeighbor is a configured entry as the data plane sees it.
type knownNeighbor struct {
	ip     ipv6
	mac    addr
	vlan   uint16    // noVLAN: every VLAN, or those of via
	via    *portView // whose settings the entry is derived from; nil: a Neighbor
	router bool
}

// rank is the precedence of an entry among those of an address in a VLAN.
func (k *knownNeighbor) rank() int {
	switch {
	case k.via != nil:
		return 1
	case k.vlan == noVLAN:
		return 2
	}
	return 3
}

// neighView is the neighbor table as the data plane sees it; part of a portSet.
type neighView struct {
	table *neighTable     // nil: no port has PortConfig.NeighSuppress
	known []knownNeighbor // sorted by address
}

// find returns the configured entry of an address in a VLAN, or nil. Of entries that contradict
// each other, such as those of two ports that may use the same address, there is none.
func (v *neighView) find(k neighKey) (best *knownNeighbor) {
	i, _ := slices.BinarySearchFunc(v.known, k.ip, func(n knownNeighbor, ip ipv6) int { return n.ip.compare(ip) })
	clash := false
	for ; i < len(v.known) && v.known[i].ip == k.ip; i++ {
		n := &v.known[i]
		if n.vlan != noVLAN && n.vlan != k.vlan || n.via != nil && !n.via.vlan.carries(k.vlan) {
			continue
		}
		switch {
		case best == nil || n.rank() > best.rank():
			best, clash = n, false
		case n.rank() == best.rank() && n.mac != best.mac:
			clash = true
		}
	}
	if clash {
		return nil
	}
	return best
}

// neighbors makes the view of a port set. Needs Switch.mu.
func (s *Switch) neighView(ports []*portView) (v neighView) {
	if !slices.ContainsFunc(ports, func(p *portView) bool { return p.cfg.NeighSuppress }) {
		s.neigh.Store(nil)
		return v
	}
	if s.neigh.Load() == nil {
		s.neigh.Store(newNeighTable())
	}
	v.table = s.neigh.Load()
	for _, n := range s.neighbors {
		k := knownNeighbor{ip: ipOf(n.IP), mac: n.MAC.addr(), vlan: n.VLAN, router: n.Router}
		if n.All {
			k.vlan = noVLAN
		}
		v.known = append(v.known, k)
	}
	for _, p := range ports {
		if len(p.cfg.MACs) != 1 {
			continue
		}
		for _, prefix := range p.cfg.Guards.AllowedIPs {
			if ip := ipOf(prefix.Addr()); prefix.IsSingleIP() && ip.isStation() {
				v.known = append(v.known, knownNeighbor{ip: ip, mac: p.cfg.MACs[0].addr(), vlan: noVLAN, via: p})
			}
		}
	}
	slices.SortStableFunc(v.known, func(a, b knownNeighbor) int { return a.ip.compare(b.ip) })
	return v
}

// NeighborState says whether requests are answered with an entry of the neighbor table.
type NeighborState string

// Values of NeighborState.
const (
	NeighborActive    NeighborState = "active"    // requests are answered
	NeighborContested NeighborState = "contested" // the MAC address has changed a moment ago, or there are two
	NeighborUnseen    NeighborState = "unseen"    // the FDB does not know where the MAC address is
)

// A NeighborInfo describes an entry of the neighbor table.
type NeighborInfo struct {
	Neighbor
	Port    string // where the MAC address is, by the FDB; "": unknown, or not the same in all VLANs
	Learned bool   // not configured
	Guarded bool   // learned from a port that may use the address by its guard
	State   NeighborState
	Age     time.Duration // since the last message, if Learned
}

// Neighbors returns the entries of the neighbor table in a VLAN (AnyVLAN: in all VLANs), sorted by
// VLAN and address. An entry that is derived from a port with several VLANs is listed for every
// VLAN.
func (s *Switch) Neighbors(vlan int) (list []NeighborInfo) {
	set := s.set.Load()
	if set.neigh.table == nil {
		return nil
	}
	now := s.fdb.now()
	for i := range set.neigh.known {
		k := &set.neigh.known[i]
		n := NeighborInfo{Neighbor: Neighbor{IP: k.ip.netip(), MAC: k.mac.mac(), VLAN: k.vlan, Router: k.router}, State: NeighborActive}
		switch {
		case k.via != nil && k.via.vlan.trunk != nil && (k.via.vlan.access || k.via.vlan.tunnel):
			n.VLAN = k.via.vlan.pvid
		case k.vlan == noVLAN:
			n.VLAN, n.All = 0, true
		}
		n = s.located(set, n, now)
		if set.neigh.find(neighKey{k.ip, n.VLAN}) == nil {
			n.State = NeighborContested
		}
		list = append(list, n)
	}
	for b := range set.neigh.table.buckets {
		if bucket := set.neigh.table.buckets[b].Load(); bucket != nil {
			for _, n := range *bucket {
				if n.live(now) {
					list = append(list, s.located(set, n.info(now), now))
				}
			}
		}
	}
	list = slices.DeleteFunc(list, func(n NeighborInfo) bool { return vlan != AnyVLAN && !n.All && int(n.VLAN) != vlan })
	slices.SortFunc(list, func(a, b NeighborInfo) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), a.IP.Compare(b.IP), a.MAC.compare(b.MAC))
	})
	return list
}

func (m MAC) compare(n MAC) int { return slices.Compare(m[:], n[:]) }

func (n *neighbor) info(now uint32) NeighborInfo {
	info := NeighborInfo{
		Neighbor: Neighbor{IP: n.key.ip.netip(), MAC: n.mac.mac(), VLAN: n.key.vlan, Router: n.router},
		Learned:  true, Guarded: n.guarded, State: NeighborActive,
		Age: time.Duration(max(int32(now-n.stamp.Load()), 0)) * time.Second,
	}
	if !n.usable(now) {
		info.State = NeighborContested
	}
	return info
}

// located completes an entry by what the FDB knows. An entry for every VLAN may be in several
// places.
func (s *Switch) located(set *portSet, n NeighborInfo, now uint32) NeighborInfo {
	t, a := s.fdb, n.MAC.addr()
	id := t.destination(a, t.perm.hash(makeKey(a, n.VLAN)), now)
	if p := set.get(id); p != nil {
		n.Port = p.cfg.Name
	} else if !n.All {
		n.State = NeighborUnseen
	}
	return n
}

// NeighEvent is a kind of event of the neighbor table, or of neighbor suppression.
type NeighEvent uint8

// Each event is counted at the port that the message came from.
const (
	NeighReplies    NeighEvent = iota // requests that were answered for another station
	NeighSuppressed                   // requests that were kept from ports with NeighSuppress
	NeighLearned                      // entries that were made
	NeighChanged                      // entries that got another MAC address
	NeighRefused                      // messages that contradict the entry of a port with a guard
	NeighLimited                      // entries that were not made: limit of the port or of the table
	NeighContended                    // messages not learned from: the table was being changed
	NeighMalformed                    // messages that are malformed, or not whole in Head
	numNeighEvents
)

var neighEventNames = [numNeighEvents]string{
	NeighSuppressed: "suppressed", NeighLearned: "learned", NeighChanged: "changed",
	NeighRefused: "refused", NeighLimited: "limited", NeighContended: "contended", NeighMalformed: "malformed",
}

// Neigh returns how often an event has happened at this port.
func (c *Counters) Neigh(e NeighEvent) uint64 { return c.neigh[e].Load() }

// NeighByName returns all counts of NeighEvents at this port except NeighReplies, zeros included,
// by the name of the event.
func (c *Counters) NeighByName() map[string]uint64 {
	m := make(map[string]uint64, numNeighEvents)
	for e := NeighReplies + 1; e < numNeighEvents; e++ {
		m[neighEventNames[e]] = c.Neigh(e)
	}
	return m
}
