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
	late.msg.records.b = slices.Clone(msg.records.b)
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
		m.join(mdbKey{msg.group, net.vlan}, v.mcast, now)
	case msgLeave:
		m.count(v.counters, McastReports)
		m.leave(mdbKey{msg.group, net.vlan}, v, net, now)
	case msgRecords:
		m.count(v.counters, McastReports)
		m.report(msg.records, v, net, now)
	}
}

// report handles the records of an IGMPv3 or MLDv2 report. Sources are not distinguished: a port is
// a member of a group for all sources or none.
func (m *mdb) report(r records, v *portView, net netKey, now uint32) {
	for r.next() {
		k := mdbKey{r.group, net.vlan}
		switch {
		case !r.valid():
			m.count(v.counters, McastMalformed)
			return
		case r.joins():
			m.join(k, v.mcast, now)
		case r.leaves():
			m.leave(k, v, net, now)
		}
	}
	switch {
	case r.left == 0:
	case r.cut:
		m.count(v.counters, McastTruncated)
	default:
		m.count(v.counters, McastMalformed)
	}
}

// join makes p a member of a group, or renews the membership. Groups whose frames go to all ports
// are not recorded.
func (m *mdb) join(k mdbKey, p *mcastPort, now uint32) {
	if k.group.isLocal() {
		return
	}
	g := m.groups[k]
	if g != nil {
		if i := memberAt(g.members, p); i >= 0 {
			g.members[i].expires = now + membershipInterval
			return
		}
	}
	if p.groups >= maxGroupsPerPort || g == nil && len(m.list) >= maxGroups || !p.mayChange(now) {
		m.count(p.counters, McastLimited)
		return
	}
	g = m.group(k)
	g.members = append(g.members, member{port: p, expires: now + membershipInterval})
	p.groups++
	m.total++
	m.count(p.counters, McastJoined)
	m.publish(g)
}

// leave handles that a station behind v has left a group. Other stations behind the same port may
// still be members. So, as with the Linux bridge, the membership is removed at once only with fast
// leave. Else the querier, which hears of it too, asks who else is there (query, inquire); without
// a querier the membership ends as if that query was unanswered.
func (m *mdb) leave(k mdbKey, v *portView, net netKey, now uint32) {
	g := m.groups[k]
	if g == nil {
		return
	}
	i := memberAt(g.members, v.mcast)
	switch n := m.table.net(net).Load(); {
	case i < 0:
	case v.cfg.McastFastLeave:
		if !v.mcast.mayChange(now) {
			m.count(v.counters, McastLimited)
			return
		}
		m.count(v.counters, McastLeft)
		m.remove(g, i)
	case !n.present(now):
		g.members[i].endBy(now + lastMemberCount*lastMemberInterval)
	case n.own:
		g.members[i].endBy(now + lastMemberCount*lastMemberInterval)
		m.inquire(&g.members[i], k, net, now)
	}
}

// query handles a query: its port is one behind which there is a router, and the members of the
// group that it names have to answer.
func (m *mdb) query(msg *mcastMessage, v *portView, net netKey, now uint32) {
	if msg.group != (groupAddr{}) {
		if g := m.groups[mdbKey{msg.group, net.vlan}]; g != nil && msg.lower {
			for i := range g.members {
				g.members[i].endBy(now + lastMemberCount*msg.respond)
			}
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

// endBy makes an entry end at a time, if it does not end earlier.
func (e *member) endBy(t uint32) {
	if int32(e.expires-t) > 0 {
		e.expires = t
	}
}

// remove removes the i-th member of a group, which is not static, and the group if that was the
// last one.
func (m *mdb) remove(g *mdbGroup, i int) {
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
