package vswitch

import "slices"

// How entries leave the MDB: by age, and with their ports.

// mcastChunk is the number of groups that are looked at with the lock held.
const mcastChunk = 256

// tick removes entries that nothing has renewed. The janitor calls tick about once a second.
func (m *mdb) tick(now uint32) {
	for len(m.late) > 0 {
		m.learnLate()
	}
	m.ageRouters(now)
	for more := true; more; {
		more = m.ageChunk(now)
	}
}

// learnLate learns from first and from some of the messages that learn has left.
func (m *mdb) learnLate(first ...lateMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range first {
		m.apply(l.table, &l.msg, l.from, l.net, l.now)
	}
	m.catchUp(lateAtOnce)
}

// ageChunk looks at the next groups, and reports whether there are more.
func (m *mdb) ageChunk(now uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range mcastChunk {
		if m.sweep >= len(m.list) {
			m.sweep = 0
			return false
		}
		g := m.list[m.sweep]
		m.age(g, now)
		if !g.empty() { // else another group has its place in the list
			m.sweep++
		}
	}
	return true
}

// age removes from a group what nothing has renewed.
func (m *mdb) age(g *mdbGroup, now uint32) {
	changed := false
	for i := len(g.members) - 1; i >= 0; i-- {
		e := &g.members[i]
		had := len(e.sources)
		if !e.age(now) {
			continue
		}
		m.countSources(g, e.port, len(e.sources)-had)
		if e.gone() {
			m.count(e.port.counters, McastExpired)
			m.note(RecordMemberExpired, g.key, e.port, groupAddr{})
			m.remove(g, i)
		} else {
			changed = true
		}
	}
	if changed {
		m.publish(g)
	}
}

func (e member) expired(now uint32) bool { return int32(now-e.expires) > 0 }

// prune removes the members of a group for which gone returns true, static ones excepted.
func (m *mdb) prune(g *mdbGroup, gone func(member) bool) {
	for i := len(g.members) - 1; i >= 0; i-- {
		if gone(g.members[i]) {
			m.remove(g, i)
		}
	}
}

func (m *mdb) ageRouters(now uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pruneRouters(func(_ netKey, e member) bool { return e.expired(now) })
}

// pruneRouters removes the router ports for which gone returns true. Needs mu.
func (m *mdb) pruneRouters(gone func(netKey, member) bool) {
	for k, list := range m.nets {
		left := slices.DeleteFunc(list, func(e member) bool { return gone(k, e) })
		if len(left) == len(list) {
			continue
		}
		m.nets[k] = left
		m.publishNet(k)
		if len(left) == 0 {
			delete(m.nets, k)
		}
	}
}

// forget removes the entries of a port in the VLANs for which cond returns true. Needs mu.
func (m *mdb) forget(p *mcastPort, why FlushCause, cond func(vlan uint16) bool) {
	had := p.groups
	for i := len(m.list) - 1; i >= 0 && p.groups > 0; i-- {
		if g := m.list[i]; cond(g.key.vlan) {
			m.prune(g, func(e member) bool { return e.port == p })
		}
	}
	m.noteFlush(p, had-p.groups, why)
	m.pruneRouters(func(k netKey, e member) bool { return e.port == p && cond(k.vlan) })
}

func everyVLAN(uint16) bool { return true }

// setOpen sets whether something may be learned from a port; if not, what was learned from it is
// forgotten.
func (m *mdb) setOpen(p *mcastPort, open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.open = open
	if !open {
		m.forget(p, FlushPortDown, everyVLAN)
	} else if len(m.queriers) > 0 && !slices.Contains(m.opened, p) {
		m.opened = append(m.opened, p)
		m.wakeUp()
	}
}

// reconfigured applies a port's new settings to the MDB.
func (m *mdb) reconfigured(v *portView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v.mcast.counters, v.mcast.name = v.counters, v.cfg.Name
	m.forget(v.mcast, FlushVLANs, func(vlan uint16) bool { return !v.vlan.carries(vlan) })
	if v.cfg.McastRouter != McastRouterAuto {
		m.pruneRouters(func(_ netKey, e member) bool { return e.port == v.mcast })
	}
}

// configure turns snooping on or off. Turning it off empties the MDB; after it has been turned on,
// the MDB has no static members. Needs Switch.mu.
func (m *mdb) configure(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on == (m.table != nil) {
		return
	}
	m.noteFlush(&mcastPort{}, m.total+m.fixed, FlushSnoopingOff)
	for _, g := range m.list {
		for _, e := range g.members {
			e.port.groups, e.port.sources = 0, 0
		}
	}
	m.groups, m.nets = make(map[mdbKey]*mdbGroup), make(map[netKey][]member)
	m.list, m.sweep, m.total, m.fixed, m.table = nil, 0, 0, 0, nil
	m.queriers, m.inquiries, m.opened = nil, nil, nil
	if on {
		m.table = newMcastTable()
	}
}
