package vswitch_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	vswitch "vswitchd/switch"
)

// The model's multicast snooping (RFC 4541; RFC 3376, section 6.4; RFC 3810, section 7.4), while
// other devices are queriers.

// A groupMessage is what the generator has put into an IP multicast frame.
type groupMessage struct {
	from, group netip.Addr // of the IP header
	kind        groupKind
	asked       netip.Addr // of a query or an old report: the group; unspecified: all
	record      byte       // of a report: the kind of its record
	sources     []netip.Addr
}

type groupKind int

const (
	groupData   groupKind = iota
	groupQuery            // to be answered within a second
	groupOld              // a report or leave message of IGMPv2 or MLDv1, of one group
	groupRecord           // a report of IGMPv3 or MLDv2 with one record
)

type netKey struct {
	vlan uint16
	v6   bool
}

// A modelNet is what is known of the queriers and routers in a VLAN.
type modelNet struct {
	from, until int            // seconds between which memberships are known
	routers     map[string]int // until which second
}

type groupKey struct {
	group netip.Addr
	vlan  uint16
	port  string
}

// A membership is what a port wants of a group. Sources that are wanted have a second until which
// they are; sources that are blocked have -1.
type membership struct {
	exclude bool
	until   int // of exclude
	sources map[netip.Addr]int
	old     int // until this second, there is a station that knows no sources

	// What a querier asks about after a record.
	askGroup bool
	ask      []netip.Addr
}

const blockedSource = -1

func (s *membership) wants(source netip.Addr) bool {
	until, listed := s.sources[source]
	if s.exclude {
		return !listed || until != blockedSource
	}
	return listed && until != blockedSource
}

func linkLocal(group netip.Addr) bool {
	return group.IsLinkLocalMulticast() || group.IsInterfaceLocalMulticast()
}

// net returns the record of a VLAN.
func (m *model) net(k netKey) *modelNet {
	if m.nets[k] == nil {
		m.nets[k] = &modelNet{until: -1, routers: make(map[string]int)}
	}
	return m.nets[k]
}

// snoop returns whether a multicast frame goes to some ports alone, and whether a port is one of
// them. It learns from messages.
func (m *model) snoop(from string, f modelFrame) (limited bool, to func(port string) bool) {
	g := f.says.group
	if !m.snooping || g == nil || f.more {
		return false, nil
	}
	header := 14 + 20
	if g.group.Is6() {
		header = 14 + 40
	}
	if len(f.bare()) < header {
		return false, nil
	}
	n := m.net(netKey{f.vlan, g.group.Is6()})
	present := n.until >= m.now
	isRouter := func(port string) bool {
		_, learned := n.routers[port]
		return learned || m.ports[port].cfg.McastRouter == vswitch.McastRouterAlways
	}
	kind := g.kind
	if len(f.raw) != len(f.says.whole) {
		kind = groupData // a malformed message is treated as any other frame to its address
	}
	switch kind {
	case groupQuery:
		m.query(from, f.vlan, g)
		return false, nil
	case groupRecord:
		m.report(from, f.vlan, g, false)
		return false, nil
	case groupOld:
		m.report(from, f.vlan, g, true)
		if g.record == isEx {
			return present, isRouter
		}
		return false, nil
	}
	if !present || m.now < n.from || linkLocal(g.group) {
		return false, nil
	}
	if m.unregistered == vswitch.McastFlooded && !m.hasMembers(g.group, f.vlan) {
		return false, nil
	}
	return true, func(port string) bool { return isRouter(port) || m.isMember(port, f.vlan, g) }
}

func (m *model) hasMembers(group netip.Addr, vlan uint16) bool {
	for k := range m.members {
		if k.group == group && k.vlan == vlan {
			return true
		}
	}
	return slices.ContainsFunc(m.static, func(e vswitch.StaticGroup) bool { return e.Group == group && e.VLAN == vlan })
}

func (m *model) isMember(port string, vlan uint16, g *groupMessage) bool {
	if s := m.members[groupKey{g.group, vlan, port}]; s != nil && s.wants(g.from) {
		return true
	}
	return slices.ContainsFunc(m.static, func(e vswitch.StaticGroup) bool {
		return e.Group == g.group && e.VLAN == vlan && e.Port == port && (!e.Source.IsValid() || e.Source == g.from)
	})
}

// query handles a query, to be answered within a second.
func (m *model) query(from string, vlan uint16, g *groupMessage) {
	n := m.net(netKey{vlan, g.group.Is6()})
	if !g.asked.IsUnspecified() {
		for k, s := range m.members {
			if k.group == g.asked && k.vlan == vlan && s.exclude {
				s.until = min(s.until, m.now+2)
			}
		}
		return
	}
	if n.until < m.now {
		n.from = m.now + 1
	}
	n.until = m.now + 255
	if m.ports[from].cfg.McastRouter == vswitch.McastRouterAuto && (g.group.Is6() || !g.from.IsUnspecified()) {
		n.routers[from] = m.now + 255
	}
}

// report handles a record of a report; old ones exclude nothing, or include nothing.
func (m *model) report(from string, vlan uint16, g *groupMessage, old bool) {
	group := g.asked
	if linkLocal(group) {
		return
	}
	k := groupKey{group, vlan, from}
	s := m.members[k]
	if s == nil {
		s = &membership{old: -1, sources: make(map[netip.Addr]int)}
	}
	sources := g.sources
	if !old && s.old >= m.now {
		switch g.record {
		case block:
			return
		case toEx:
			sources = nil
		}
	}
	s.apply(g.record, sources, m.now)
	switch {
	case m.ports[from].cfg.McastFastLeave:
		s.endAsked()
	case m.net(netKey{vlan, group.Is6()}).until < m.now: // nobody asks; it ends as if somebody did
		s.endBy(m.now + 2)
	}
	s.askGroup, s.ask = false, nil
	if old && g.record == isEx {
		s.old = m.now + 260
	}
	if m.members[k] = s; !s.exclude && len(s.sources) == 0 {
		delete(m.members, k)
	}
}

// apply applies a record, and notes what a querier would ask about then.
func (s *membership) apply(record byte, sources []netip.Addr, now int) {
	until := now + 260
	named := make(map[netip.Addr]bool)
	for _, a := range sources {
		named[a] = true
	}
	switch record {
	case toIn:
		s.askGroup = s.exclude
		for a, until := range s.sources {
			if until != blockedSource && !named[a] {
				s.ask = append(s.ask, a)
			}
		}
		fallthrough
	case isIn, allow:
		for a := range named {
			s.sources[a] = until
		}
	case block:
		for a := range named {
			until, listed := s.sources[a]
			if !listed && s.exclude {
				s.sources[a] = s.until
			}
			if listed && until != blockedSource || !listed && s.exclude {
				s.ask = append(s.ask, a)
			}
		}
	case isEx, toEx:
		timer := until
		if record == toEx {
			timer = s.until
		}
		s.drop(func(a netip.Addr, _ int) bool { return !named[a] })
		for a := range named {
			if _, listed := s.sources[a]; !listed && s.exclude {
				s.sources[a] = timer
			} else if !listed {
				s.sources[a] = blockedSource
			}
			if record == toEx && s.sources[a] != blockedSource {
				s.ask = append(s.ask, a)
			}
		}
		s.exclude, s.until = true, until
	}
}

// endAsked ends at once what would be asked about.
func (s *membership) endAsked() {
	if s.askGroup {
		s.exclude = false
		s.drop(func(_ netip.Addr, until int) bool { return until == blockedSource })
	}
	for _, a := range s.ask {
		if s.exclude {
			s.sources[a] = blockedSource
		} else {
			delete(s.sources, a)
		}
	}
}

// endBy makes what would be asked about end by a time.
func (s *membership) endBy(end int) {
	if s.askGroup {
		s.until = min(s.until, end)
	}
	for _, a := range s.ask {
		s.sources[a] = min(s.sources[a], end)
	}
}

func (s *membership) drop(cond func(a netip.Addr, until int) bool) {
	for a, until := range s.sources {
		if cond(a, until) {
			delete(s.sources, a)
		}
	}
}

// ageGroups ends what has not been reported again.
func (m *model) ageGroups() {
	for _, n := range m.nets {
		for port, until := range n.routers {
			if until < m.now {
				delete(n.routers, port)
			}
		}
	}
	for k, s := range m.members {
		if s.exclude && s.until < m.now {
			s.exclude = false
			s.drop(func(_ netip.Addr, until int) bool { return until == blockedSource })
		}
		for a, until := range s.sources {
			switch {
			case until >= m.now, until == blockedSource:
			case s.exclude:
				s.sources[a] = blockedSource
			default:
				delete(s.sources, a)
			}
		}
		if !s.exclude && len(s.sources) == 0 {
			delete(m.members, k)
		}
	}
}

// forgetGroups removes what was learned from a port in some VLANs.
func (m *model) forgetGroups(port string, in func(vlan uint16) bool) {
	for k := range m.members {
		if k.port == port && in(k.vlan) {
			delete(m.members, k)
		}
	}
	for k, n := range m.nets {
		if in(k.vlan) {
			delete(n.routers, port)
		}
	}
}

// changeGroups adds or deletes a static member, or changes the settings of snooping.
func (m *model) changeGroups(t *testing.T, r *rand.Rand, l *lab, port string) {
	if r.IntN(8) == 0 {
		c := vswitch.McastConfig{Snooping: r.IntN(4) != 0, Unregistered: m.unregistered}
		if r.IntN(2) == 0 {
			c.Unregistered = []vswitch.McastUnregistered{vswitch.McastToRouters, vswitch.McastFlooded}[r.IntN(2)]
		}
		_, err := l.s.Apply(&vswitch.Change{KeepStatic: true, Mcast: &c})
		m.expect(t, err, true, "snooping")
		if m.snooping, m.unregistered = c.Snooping, c.Unregistered; !m.snooping {
			m.members, m.nets = make(map[groupKey]*membership), make(map[netKey]*modelNet)
		}
		m.applied()
		return
	}
	v6 := r.IntN(2) == 0
	e := vswitch.StaticGroup{Group: nthGroup(v6, r.IntN(3)), VLAN: uint16(r.IntN(4)), Port: port}
	if r.IntN(2) == 0 {
		e.Source = nthSource(v6, r.IntN(4)+1)
	}
	same := func(o vswitch.StaticGroup) bool { return o == e }
	if n := len(m.static); n > 0 && m.static[n-1].Group.Is6() == v6 && r.IntN(3) == 0 {
		e.Group, e.VLAN, e.Port = m.static[n-1].Group, m.static[n-1].VLAN, m.static[n-1].Port
	}
	if len(m.static) > 0 && r.IntN(3) == 0 {
		if r.IntN(4) != 0 {
			e = m.static[r.IntN(len(m.static))]
		}
		m.expect(t, l.s.DelGroup(e), slices.ContainsFunc(m.static, same), "delete a member")
		m.static = slices.DeleteFunc(m.static, same)
		return
	}
	covered := slices.ContainsFunc(m.static, func(o vswitch.StaticGroup) bool {
		return o.Group == e.Group && o.VLAN == e.VLAN && o.Port == e.Port && (o.Source == e.Source || !o.Source.IsValid() || !e.Source.IsValid())
	})
	m.expect(t, l.s.AddGroup(e), !covered, "add a member")
	if !covered {
		m.static = append(m.static, e)
	}
}

// compareGroups compares the memberships, and queriers and routers.
func (m *model) compareGroups(t *testing.T, l *lab) {
	var got, want []string
	entries, nets := l.s.MDB(vswitch.AnyVLAN)
	for _, e := range entries {
		if e.Static {
			continue
		}
		text := fmt.Sprint(e.Group, e.VLAN, e.Port, e.Exclude)
		if e.Exclude {
			text += fmt.Sprint(int(e.Expires / time.Second))
		}
		for _, s := range e.Sources {
			until := blockedSource
			if !s.Blocked {
				until = int(s.Expires / time.Second)
			}
			text += fmt.Sprint(" ", s.Address, until)
		}
		got = append(got, text)
	}
	for _, n := range nets {
		if n.Querier.IsValid() || len(n.Routers) > 0 {
			got = append(got, fmt.Sprint(n.VLAN, n.IPv6, n.Querier.IsValid(), n.Snooping, n.Routers))
		}
	}
	for k, s := range m.members {
		text := fmt.Sprint(k.group, k.vlan, k.port, s.exclude)
		if s.exclude {
			text += fmt.Sprint(s.until - m.now)
		}
		var sources []netip.Addr
		for a := range s.sources {
			sources = append(sources, a)
		}
		slices.SortFunc(sources, netip.Addr.Compare)
		for _, a := range sources {
			until := s.sources[a]
			if until != blockedSource {
				until -= m.now
			}
			text += fmt.Sprint(" ", a, until)
		}
		want = append(want, text)
	}
	for k, n := range m.nets {
		routers := []string{}
		for port := range n.routers {
			routers = append(routers, port)
		}
		slices.Sort(routers)
		present := n.until >= m.now
		if present || len(routers) > 0 {
			want = append(want, fmt.Sprint(k.vlan, k.v6, present, present && m.now >= n.from, routers))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("memberships\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
