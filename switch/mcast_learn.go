package vswitch

import "slices"

// What the MDB learns from messages. All functions here need mdb.mu, except for learn.

// A lateMessage is a message that could not be learned from when it arrived.
type lateMessage struct {
	msg   mcastMessage
	table *mcastTable
	from  *portView
	net   netKey
	now   uint32
}

// learn learns from a message that has arrived from port v. It does not wait for the lock: if that
// is taken, the message is left to the janitor, or to the next message.
func (m *mdb) learn(t *mcastTable, msg *mcastMessage, v *portView, net netKey, now uint32) {
	if m.mu.TryLock() {
		defer m.mu.Unlock()
		m.catchUp(lateAtOnce)
		m.apply(t, msg, v, net, now)
		return
	}
	late := lateMessage{*msg, t, v, net, now}
	late.msg.records.b, late.msg.records.list = slices.Clone(msg.records.b), slices.Clone(msg.records.list)
	select {
	case m.late <- late:
	default:
		m.count(v.counters, McastContended)
	}
}

// lateAtOnce is the most messages that were left and that a worker learns from before its own.
const lateAtOnce = 4

// catchUp learns from up to n messages that have been left.
func (m *mdb) catchUp(n int) {
	for range n {
		select {
		case l := <-m.late:
			m.apply(l.table, &l.msg, l.from, l.net, l.now)
		default:
			return
		}
	}
}

// apply learns from a message and counts what happens.
func (m *mdb) apply(t *mcastTable, msg *mcastMessage, v *portView, net netKey, now uint32) {
	if m.table != t || !v.mcast.open {
		return // a Deliver that still uses an old port set learns nothing more
	}
	switch msg.kind {
	case msgQuery:
		m.count(v.counters, McastQueries)
		m.query(msg, v, net, now)
	case msgRouter:
		m.router(v, net, now)
	case msgReport:
		m.count(v.counters, McastReports)
		m.record(mdbKey{msg.group, net.vlan}, &records{kind: recordIsExclude}, v, net, now, true)
	case msgLeave:
		m.count(v.counters, McastReports)
		m.record(mdbKey{msg.group, net.vlan}, &records{kind: recordToInclude}, v, net, now, true)
	case msgRecords:
		m.count(v.counters, McastReports)
		m.report(msg.records, v, net, now)
	}
}

// report handles the records of an IGMPv3 or MLDv2 report.
func (m *mdb) report(r records, v *portView, net netKey, now uint32) {
	for r.next() {
		if !r.valid() {
			m.count(v.counters, McastMalformed)
			return
		}
		m.record(mdbKey{r.group, net.vlan}, &r, v, net, now, false)
	}
	switch {
	case r.left == 0:
	case r.cut:
		m.count(v.counters, McastTruncated)
	default:
		m.count(v.counters, McastMalformed)
	}
}

// record handles a record of a report. Messages of the old kinds are records, too: a report
// excludes no source, and a leave message includes none. Groups whose frames go to all ports are
// not recorded.
func (m *mdb) record(k mdbKey, r *records, v *portView, net netKey, now uint32, old bool) {
	if k.group.isLocal() {
		return
	}
	g, p := m.groups[k], v.mcast
	var e *member
	i := -1
	if g != nil {
		if i = memberAt(g.members, p); i >= 0 {
			e = &g.members[i]
		}
	}
	if e != nil && !old && int32(e.old-now) >= 0 {
		// RFC 3376, section 7.3.2; RFC 3810, section 8.3.2.
		switch r.kind {
		case recordBlock:
			return
		case recordToExclude:
			r.sources = 0
		}
	}
	t := &m.next
	t.begin(e)
	t.record(r, now)
	if v.cfg.McastFastLeave {
		t.unask()
	}
	if e == nil && t.empty() {
		return
	}
	if !t.same(e) && !m.allow(g, e, t, p, now) {
		m.count(p.counters, McastLimited)
		return
	}
	if t.overflow {
		m.count(p.counters, McastLimited)
	}
	if t.empty() {
		m.count(p.counters, McastLeft)
		m.note(RecordLeft, k, p, groupAddr{})
		m.remove(g, i)
		return
	}
	g, e = m.change(k, e, p)
	if old && r.kind == recordIsExclude {
		e.old = now + membershipInterval
	}
	same := t.same(e)
	m.store(g, e, t)
	if !same {
		m.publish(g)
	}
	if t.askGroup || len(t.ask) > 0 {
		m.inquire(e, k, net, now)
	}
}

// allow reports whether a change is within the limits. If there would be too many sources, the
// change is one to all sources instead.
func (m *mdb) allow(g *mdbGroup, e *member, t *transition, p *mcastPort, now uint32) bool {
	if e == nil && (p.groups >= maxGroupsPerPort || g == nil && len(m.list) >= maxGroups) || !p.mayChange(now) {
		return false
	}
	more := len(t.sources)
	if e != nil {
		more -= len(e.sources)
	}
	if more > 0 && (p.sources+more > maxSourcesPerPort || g != nil && g.sources+more > maxSourcesPerGroup) {
		t.overflow, t.exclude, t.expires = true, true, now+membershipInterval
		t.sources, t.ask, t.askGroup = t.sources[:0], t.ask[:0], false
	}
	return true
}

// change returns the group k and the port's membership in it, which it makes if e is nil.
func (m *mdb) change(k mdbKey, e *member, p *mcastPort) (*mdbGroup, *member) {
	g := m.group(k)
	if e == nil {
		g.members = append(g.members, member{port: p})
		e = &g.members[len(g.members)-1]
		p.groups++
		m.total++
		m.count(p.counters, McastJoined)
		m.note(RecordJoined, k, p, groupAddr{})
	}
	return g, e
}

// store makes e say what t says.
func (m *mdb) store(g *mdbGroup, e *member, t *transition) {
	m.countSources(g, e.port, len(t.sources)-len(e.sources))
	e.exclude, e.expires = t.exclude, t.expires
	e.sources = append(e.sources[:0], t.sources...)
}

// countSources counts n more sources of a membership.
func (m *mdb) countSources(g *mdbGroup, p *mcastPort, n int) {
	g.sources += n
	p.sources += n
}

// query handles a query: its port is one behind which there is a router, and the members of the
// group that it names have to answer.
func (m *mdb) query(msg *mcastMessage, v *portView, net netKey, now uint32) {
	if msg.group != (groupAddr{}) {
		if g := m.groups[mdbKey{msg.group, net.vlan}]; g != nil && msg.lower {
			g.lower(&msg.records, now+lastMemberCount*msg.respond)
		}
		return
	}
	if q := m.querier(net); q == nil || m.yields(q, msg, v, now) || q.silenced {
		m.present(net, msg.source, false, msg.respond, now)
	}
	// RFC 4541, section 2.1.1 (1) b: queries from 0.0.0.0 are those of switches.
	if uint32(msg.source.lo) != 0 || net.v6 {
		m.router(v, net, now)
	}
}

// lower makes what a query asks about end by a time: memberships for all sources, or those for the
// sources in the query. RFC 3376, section 6.6.1; RFC 3810, section 7.6.1.
func (g *mdbGroup) lower(asked *records, by uint32) {
	for i := range g.members {
		e := &g.members[i]
		if asked.sources == 0 && e.exclude {
			e.endBy(by)
		}
		for n := range asked.sources {
			e.endSourceBy(asked.source(n), by)
		}
	}
}

// present records that a querier has sent a general query: this switch, which is the elected one
// then, or another one.
func (m *mdb) present(net netKey, source groupAddr, own bool, respond, now uint32) {
	at := m.table.net(net)
	n := mcastNet{from: now + respond, querier: source, own: own}
	was := at.Load()
	if was != nil {
		n.routers = was.routers
		if was.present(now) {
			n.from = was.from
			if !own && !was.own {
				n.querier = lower(was.querier, source)
			}
		}
	}
	n.until = now + querierInterval
	if was == nil || was.until != n.until || was.querier != n.querier || was.own != n.own {
		at.Store(&n)
	}
}

// lower returns the querier that wins the election (RFC 3376, section 6.6.2): that with the lower
// address, but not 0.0.0.0 if there is another.
func lower(a, b groupAddr) groupAddr {
	switch {
	case !a.isV6() && uint32(a.lo) == 0:
		return b
	case !b.isV6() && uint32(b.lo) == 0:
		return a
	case a.hi < b.hi || a.hi == b.hi && a.lo < b.lo:
		return a
	}
	return b
}

// router makes v a port behind which there is a router.
func (m *mdb) router(v *portView, net netKey, now uint32) {
	if v.cfg.McastRouter != McastRouterAuto {
		return
	}
	list := m.nets[net]
	if i := memberAt(list, v.mcast); i >= 0 {
		list[i].expires = now + querierInterval
		return
	}
	m.nets[net] = append(list, member{port: v.mcast, expires: now + querierInterval})
	if at := m.table.net(net); at.Load() == nil {
		at.Store(&mcastNet{until: now - 1}) // no querier
	}
	m.publishNet(net)
}

func memberAt(list []member, p *mcastPort) int {
	return slices.IndexFunc(list, func(m member) bool { return m.port == p })
}

// remove removes the i-th member of a group, which is not static, and the group if that was the
// last one.
func (m *mdb) remove(g *mdbGroup, i int) {
	m.countSources(g, g.members[i].port, -len(g.members[i].sources))
	g.members[i].port.groups--
	m.total--
	g.members = slices.Delete(g.members, i, i+1)
	m.publish(g)
	m.discardEmpty(g)
}

// group returns the record of a group, which it makes if there is none.
func (m *mdb) group(k mdbKey) *mdbGroup {
	g := m.groups[k]
	if g == nil {
		g = &mdbGroup{key: k, at: len(m.list)}
		m.groups[k] = g
		m.list = append(m.list, g)
	}
	return g
}

// discardEmpty removes a group that has no members from the MDB.
func (m *mdb) discardEmpty(g *mdbGroup) {
	if !g.empty() {
		return
	}
	delete(m.groups, g.key)
	end := len(m.list) - 1
	m.list[g.at] = m.list[end]
	m.list[g.at].at = g.at
	m.list[end] = nil
	m.list = m.list[:end]
}

// publish shows the members of a group to the data plane.
func (m *mdb) publish(g *mdbGroup) { m.table.put(g.key, g.wanted()) }

// publishNet shows the router ports of a VLAN to the data plane.
func (m *mdb) publishNet(k netKey) {
	at := m.table.net(k)
	n := *at.Load()
	n.routers = portsOf(m.nets[k])
	at.Store(&n)
}

func portsOf(list []member) (ports idSet) {
	for _, e := range list {
		ports = ports.with(e.port.id)
	}
	return ports
}
