package vswitch

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// The switch as a querier: it sends the queries without which memberships are not known. Timers are
// those of RFC 3376, section 8, and RFC 3810, section 9, with default values, in whole seconds.

// ErrBadQuerier is the error of a QuerierConfig with a value that is not possible.
var ErrBadQuerier = errors.New("bad querier")

// QuerierConfig says in which VLANs the switch sends queries, and how. In each VLAN it does so for
// each IP version as long as no other querier with a lower address is present.
type QuerierConfig struct {
	On bool

	// VLANs are the VLANs in which queries are sent; empty: those of ports' untagged frames.
	VLANs []uint16

	// IPv4 and IPv6 are the addresses from which queries are sent. If IPv4 is invalid, that is
	// 0.0.0.0, and any querier with another address wins. If IPv6 is invalid, it is a link-local
	// address that is made from the switch's address.
	IPv4, IPv6 netip.Addr

	// Versions of the queries; 0: 3 and 2.
	IGMP, MLD int
}

func (c *QuerierConfig) igmp() int { return cmp.Or(c.IGMP, 3) }
func (c *QuerierConfig) mld() int  { return cmp.Or(c.MLD, 2) }

// equal reports whether two configurations say the same.
func (c *QuerierConfig) equal(o *QuerierConfig) bool {
	return c.On == o.On && slices.Equal(c.VLANs, o.VLANs) && c.IPv4 == o.IPv4 && c.IPv6 == o.IPv6 &&
		c.igmp() == o.igmp() && c.mld() == o.mld()
}

// CheckQuerierAddress returns an error that wraps ErrBadQuerier if queries cannot be sent from an
// address.
func CheckQuerierAddress(a netip.Addr) error {
	switch {
	case a.Is4() && (a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})):
		return fmt.Errorf("%w: %v is not the address of a station", ErrBadQuerier, a)
	case a.Is4():
		return nil
	case a.Is6() && !a.Is4In6() && a.Zone() == "" && a.IsLinkLocalUnicast():
		return nil // RFC 3810, section 5.1.14
	}
	return fmt.Errorf("%w: %v is not a link-local address", ErrBadQuerier, a)
}

func (c *QuerierConfig) check() error {
	for _, a := range []netip.Addr{c.IPv4, c.IPv6} {
		if a.IsValid() {
			if err := CheckQuerierAddress(a); err != nil {
				return err
			}
		}
	}
	for _, v := range c.VLANs {
		if v >= maxVID {
			return fmt.Errorf("%w: VLAN %d is not in 0 to %d", ErrBadQuerier, v, maxVID-1)
		}
	}
	if c.igmp() < 2 || c.igmp() > 3 || c.mld() < 1 || c.mld() > 2 {
		return fmt.Errorf("%w: IGMPv%d, MLDv%d", ErrBadQuerier, c.igmp(), c.mld())
	}
	return nil
}

const (
	queryInterval   = 125               // between general queries
	startupInterval = queryInterval / 4 // between the first ones
	startupCount    = 2                 // how many these are

	// maxQueriesAtOnce is how many VLANs and ports are queried in a second, so that the queries of
	// many VLANs do not fill the receive ring of a port.
	maxQueriesAtOnce = 128
)

// A querier is the switch's part as a querier of one IP version in a VLAN. Guarded by mdb.mu.
type querier struct {
	net      netKey
	due      uint32 // the second in which the next general query is sent
	startup  int    // of the following intervals, those that are short
	silenced bool   // another querier is present
	other    uint32 // until this second
}

// An inquiry is queries after which a membership ends unless it is renewed. Guarded by mdb.mu.
type inquiry struct {
	key     mdbKey
	port    *mcastPort
	net     netKey
	sources []groupAddr // nil: about the group
	due     uint32
	left    int // queries
}

// setQueriers makes the switch the querier in these VLANs, which are sorted. What is the same as
// before goes on. Needs Switch.mu.
func (m *mdb) setQueriers(cfg QuerierConfig, vlans []uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.queriers
	if !cfg.equal(&m.querying) {
		was = nil
	}
	m.querying, m.queriers = cfg, nil
	if m.table != nil && cfg.On {
		for _, v := range vlans {
			for _, v6 := range []bool{false, true} {
				q := &querier{net: netKey{v, v6}, startup: startupCount}
				if i, found := find(was, q.net); found {
					q = was[i]
				} else {
					q.due = m.now()
				}
				m.queriers = append(m.queriers, q)
			}
		}
	}
	m.wakeUp()
}

// find returns the place of a querier in a sorted list.
func find(list []*querier, k netKey) (int, bool) {
	return slices.BinarySearchFunc(list, k, func(q *querier, k netKey) int { return q.net.compare(k) })
}

func (k netKey) compare(o netKey) int {
	version := func(k netKey) int {
		if k.v6 {
			return 6
		}
		return 4
	}
	return cmp.Or(cmp.Compare(k.vlan, o.vlan), cmp.Compare(version(k), version(o)))
}

// querier returns the switch's part as a querier, or nil if it has none.
func (m *mdb) querier(k netKey) *querier {
	if i, found := find(m.queriers, k); found {
		return m.queriers[i]
	}
	return nil
}

// yields decides the election when another querier is heard: the one with the lower address wins
// (RFC 3376, section 6.6.2). 0.0.0.0 loses against any other address, and if both have that, the
// lower Ethernet address wins. Behind a port that never is a router port, nobody wins. It reports
// whether the other one has won.
func (m *mdb) yields(q *querier, msg *mcastMessage, v *portView, now uint32) bool {
	if v.cfg.McastRouter == McastRouterNever {
		return false
	}
	own := m.querying.address(q.net.v6, m.address)
	wins := msg.station < m.address.addr()
	if msg.source != own {
		wins = lower(msg.source, own) == msg.source
	}
	if wins {
		q.silenced, q.other = true, now+querierInterval
	}
	return wins
}

// wakeUp makes the janitor send what is due.
func (m *mdb) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// inquire has the stations behind a port asked whether they still want what m.next asks about. It
// ends unless it is renewed: also if no querier is present, in which case nobody is asked. If
// another querier is present, that asks, and what it asks about ends then (query).
func (m *mdb) inquire(e *member, k mdbKey, net netKey, now uint32) {
	n := m.table.net(net).Load()
	if n.present(now) && !n.own {
		return
	}
	own := n.present(now)
	if own && len(m.next.ask) > 0 && !m.knowsSources(net) {
		return // the switch cannot ask about sources
	}
	by := now + lastMemberCount*lastMemberInterval
	q := inquiry{key: k, port: e.port, net: net, due: now, left: lastMemberCount}
	if m.next.askGroup {
		e.endBy(by)
		if own && !e.asked {
			e.asked = true
			m.inquiries = append(m.inquiries, q)
		}
	}
	q.sources = nil
	for _, a := range m.next.ask {
		if s := e.endSourceBy(a, by); s != nil && own && !s.asked {
			s.asked = true
			q.sources = append(q.sources, a)
		}
	}
	if q.sources != nil {
		m.inquiries = append(m.inquiries, q)
	}
	if own {
		m.wakeUp()
	}
}

// knowsSources reports whether the switch's queries can be about sources.
func (m *mdb) knowsSources(net netKey) bool {
	if net.v6 {
		return m.querying.mld() >= 2
	}
	return m.querying.igmp() >= 3
}

// dueQueries returns the queries that are to be sent now.
func (m *mdb) dueQueries(now uint32) (list []ownQuery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table == nil {
		return nil
	}
	for _, q := range m.queriers {
		if q.silenced && int32(now-q.other) >= 0 {
			q.silenced, q.startup, q.due = false, startupCount, now
		}
		if q.silenced || int32(now-q.due) < 0 || len(list) == maxQueriesAtOnce {
			continue
		}
		list = append(list, ownQuery{net: q.net})
		q.due = now + queryInterval
		if q.startup--; q.startup > 0 {
			q.due = now + startupInterval
		}
		m.present(q.net, m.querying.address(q.net.v6, m.address), true, defaultResponse, now)
	}
	list = append(list, m.welcome(list)...)
	return append(list, m.dueInquiries(now)...)
}

// welcome returns queries for ports that have come up, whose stations may have joined groups long
// ago: a guest that has been migrated to this host does not report by itself. Queries in sent go to
// these ports, too.
func (m *mdb) welcome(sent []ownQuery) (list []ownQuery) {
	for _, p := range m.opened {
		for _, q := range m.queriers {
			covered := slices.ContainsFunc(sent, func(o ownQuery) bool { return o.net == q.net })
			if !q.silenced && !covered && p.open && len(list) < maxQueriesAtOnce {
				list = append(list, ownQuery{net: q.net, port: p})
			}
		}
	}
	m.opened = nil
	return list
}

// dueInquiries returns the queries about single groups that are to be sent now.
func (m *mdb) dueInquiries(now uint32) (list []ownQuery) {
	m.inquiries = slices.DeleteFunc(m.inquiries, func(q inquiry) bool {
		g := m.groups[q.key]
		if g == nil {
			return true
		}
		i := memberAt(g.members, q.port)
		return i < 0 || q.over(&g.members[i], now)
	})
	for i := range m.inquiries {
		if q := &m.inquiries[i]; int32(now-q.due) >= 0 {
			e := &m.groups[q.key].members[memberAt(m.groups[q.key].members, q.port)]
			list = append(list, ownQuery{net: q.net, group: q.key.group, sources: q.open(e, now), port: q.port})
			q.left--
			q.due = now + lastMemberInterval
		}
	}
	return list
}

// over reports whether nothing is left to be asked: it has been renewed, or will end.
func (q *inquiry) over(e *member, now uint32) bool {
	if q.sources == nil {
		if q.left > 0 && e.exclude && !renewed(e.expires, now) {
			return false
		}
		e.asked = false
		return true
	}
	if q.left > 0 && len(q.open(e, now)) > 0 {
		return false
	}
	for i := range e.sources {
		if slices.Contains(q.sources, e.sources[i].addr) {
			e.sources[i].asked = false
		}
	}
	return true
}

// open returns the sources of the inquiry that have not been renewed.
func (q *inquiry) open(e *member, now uint32) (left []groupAddr) {
	for _, s := range e.sources {
		if !s.blocked && !renewed(s.expires, now) && slices.Contains(q.sources, s.addr) {
			left = append(left, s.addr)
		}
	}
	return left
}

// renewed reports whether an entry does not end soon.
func renewed(expires, now uint32) bool {
	return int32(expires-now) > lastMemberCount*lastMemberInterval
}

// query sends the queries that are due.
func (s *Switch) query(now uint32) {
	m := s.mdb
	for _, q := range m.dueQueries(now) {
		m.mu.Lock()
		cfg := m.querying
		m.mu.Unlock()
		s.originate(q.frame(m.address, &cfg), q.net.vlan, func(v *portView) bool {
			if q.port != nil && q.port != v.mcast {
				return false
			}
			m.count(v.counters, McastQueriesSent)
			return true
		})
	}
}

// queriedVLANs returns the VLANs in which the switch is a querier. Needs Switch.mu.
func (s *Switch) queriedVLANs() []uint16 {
	vlans := slices.Clone(s.mcast.Querier.VLANs)
	if len(vlans) == 0 {
		for _, a := range s.names {
			if v := a.view.vlan; v.carries(v.pvid) {
				vlans = append(vlans, v.pvid)
			}
		}
	}
	slices.Sort(vlans)
	return slices.Compact(vlans)
}
