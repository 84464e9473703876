package vswitch

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Listing the MDB.

// An MDBEntry says that a port is a member of a group.
type MDBEntry struct {
	Group   netip.Addr
	VLAN    uint16
	Port    string
	Static  bool          // a StaticGroup
	Source  netip.Addr    // of a StaticGroup
	Exclude bool          // the port gets what comes from all sources, except those that are Blocked
	Sources []MDBSource   // without Exclude: the port gets what comes from these; sorted
	Expires time.Duration // until the entry is removed, if nothing renews it; whole seconds; 0 if Static
}

// An MDBSource is a source that an MDBEntry distinguishes.
type MDBSource struct {
	Address netip.Addr
	Blocked bool
	Expires time.Duration // until the source is no longer wanted, likewise; 0 if Blocked
}

// An MDBNet is what is known of multicast routers in a VLAN.
type MDBNet struct {
	VLAN     uint16
	IPv6     bool
	Querier  netip.Addr    // invalid: none is present, and multicast is flooded
	Own      bool          // the querier is this switch
	Expires  time.Duration // until the querier is considered absent, if no query is heard
	Snooping bool          // hosts have had time to answer the querier; multicast is not flooded
	Routers  []string      // ports behind which a router is, sorted; without McastRouterAlways
}

// MDB returns the memberships in a VLAN (AnyVLAN: in all VLANs), sorted by VLAN, group and port,
// and what is known of routers in it, sorted by VLAN and IP version. The MDB may change meanwhile.
// Both are empty if snooping is off.
func (s *Switch) MDB(vlan int) (entries []MDBEntry, nets []MDBNet) {
	set, now := s.set.Load(), s.fdb.now()
	entries = s.mdb.dump(set, vlan, now)
	slices.SortFunc(entries, func(a, b MDBEntry) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), a.Group.Compare(b.Group), cmp.Compare(a.Port, b.Port), a.Source.Compare(b.Source))
	})
	t := set.mcast.table
	if t == nil {
		return entries, nil
	}
	for v := range maxVID + 1 {
		for _, v6 := range []bool{false, true} {
			k := netKey{uint16(v), v6}
			if n := t.net(k).Load(); n != nil && (vlan == AnyVLAN || vlan == v) {
				if e := n.describe(k, set, now); e.Querier.IsValid() || len(e.Routers) > 0 {
					nets = append(nets, e)
				}
			}
		}
	}
	return entries, nets
}

// Snooping reports whether multicast snooping is on.
func (s *Switch) Snooping() bool { return s.set.Load().mcast.table != nil }

// MDBEntries returns the number of memberships, static ones included.
func (s *Switch) MDBEntries() int {
	s.mdb.mu.Lock()
	defer s.mdb.mu.Unlock()
	return s.mdb.total + s.mdb.fixed
}

func (m *mdb) dump(set *portSet, vlan int, now uint32) (entries []MDBEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.list {
		if vlan != AnyVLAN && vlan != int(g.key.vlan) {
			continue
		}
		for _, f := range g.fixed {
			if v := set.get(f.port.id); v != nil {
				e := MDBEntry{Group: g.key.group.address(), VLAN: g.key.vlan, Port: v.cfg.Name, Static: true, Exclude: f.source == (groupAddr{})}
				if f.source != (groupAddr{}) {
					e.Source = f.source.address()
				}
				entries = append(entries, e)
			}
		}
		for i := range g.members {
			e := &g.members[i]
			v := set.get(e.port.id)
			if v == nil || e.expired(now) {
				continue
			}
			entries = append(entries, MDBEntry{
				Group: g.key.group.address(), VLAN: g.key.vlan, Port: v.cfg.Name, Exclude: e.exclude,
				Sources: e.describe(now), Expires: time.Duration(e.expires-now) * time.Second,
			})
		}
	}
	return entries
}

// describe returns the sources of a member.
func (e *member) describe(now uint32) (list []MDBSource) {
	for _, s := range e.sources {
		d := MDBSource{Address: s.addr.address(), Blocked: s.blocked}
		if !s.blocked {
			d.Expires = time.Duration(max(int32(s.expires-now), 0)) * time.Second
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b MDBSource) int { return a.Address.Compare(b.Address) })
	return list
}

func (n *mcastNet) describe(k netKey, set *portSet, now uint32) MDBNet {
	e := MDBNet{VLAN: k.vlan, IPv6: k.v6, Snooping: n.live(now)}
	if n.present(now) {
		e.Own = n.own
		e.Querier, e.Expires = n.querier.address(), time.Duration(n.until-now)*time.Second
	}
	for _, v := range set.all {
		if n.routers.has(v.id) {
			e.Routers = append(e.Routers, v.cfg.Name)
		}
	}
	slices.Sort(e.Routers)
	return e
}

func (g groupAddr) address() netip.Addr {
	a, _ := netip.AddrFromSlice(g.bytes()) // 4 or 16 bytes
	return a
}
