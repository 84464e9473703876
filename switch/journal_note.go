package vswitch

// What the parts of a switch record in its journal, if one is open.

// note records what happens to the entry in s, before it is removed or after it was made. Needs mu.
// It is small enough to be inlined: without a journal, learning an address must not cost more.
func (t *fdb) note(what RecordKind, s slot) {
	if t.journal.Load() != nil {
		t.noteFrom(what, s, "")
	}
}

// noteFrom is note with the port at which the entry was before.
func (t *fdb) noteFrom(what RecordKind, s slot, from string) {
	j := t.journal.Load()
	if j == nil || t.cold[s].kind == entryTwin {
		return
	}
	c, p := &t.cold[s], t.owner(s)
	r := Record{What: what, Port: p.name, Other: from, MAC: c.key.addr().station().mac(), VLAN: c.key.vlan(), Type: c.kind.public()}
	if p.id == blackhole {
		r.Type = FDBBlackhole
	}
	if c.key.isEverywhere() {
		r.VLAN, r.All = 0, true
	}
	j.add(r)
}

// noteFlush records that n entries of p were removed. Needs mu.
func (t *fdb) noteFlush(p *fdbPort, n int, why FlushCause) {
	if j := t.journal.Load(); j != nil && n > 0 {
		j.add(Record{What: RecordFlushed, Port: p.name, Count: n, Cause: why})
	}
}

// note records what happens to the membership of p in a group. Needs mu.
func (m *mdb) note(what RecordKind, k mdbKey, p *mcastPort, source groupAddr) {
	j := m.journal.Load()
	if j == nil {
		return
	}
	r := Record{What: what, Port: p.name, VLAN: k.vlan, Group: k.group.address()}
	if source != (groupAddr{}) {
		r.Source = source.address()
	}
	j.add(r)
}

// noteFixed records which static memberships begin and end when those in list become the static
// ones. Needs mu.
func (m *mdb) noteFixed(list []staticMember) {
	if m.journal.Load() == nil {
		return
	}
	type membership struct {
		key mdbKey
		fixedMember
	}
	was := make(map[membership]bool)
	for _, g := range m.list {
		for _, f := range g.fixed {
			was[membership{g.key, f}] = true
		}
	}
	for i := range list {
		e := membership{list[i].key, fixedMember{list[i].att.mcast, list[i].source}}
		if !was[e] {
			m.note(RecordMemberAdded, e.key, e.port, e.source)
		}
		delete(was, e)
	}
	for e := range was {
		m.note(RecordMemberRemoved, e.key, e.port, e.source)
	}
}

// noteFlush records that n memberships of p were removed. Needs mu.
func (m *mdb) noteFlush(p *mcastPort, n int, why FlushCause) {
	if j := m.journal.Load(); j != nil && n > 0 {
		j.add(Record{What: RecordMemberFlushed, Port: p.name, Count: n, Cause: why})
	}
}
