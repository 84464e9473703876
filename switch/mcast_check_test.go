package vswitch

import "testing"

// check verifies that what the data plane reads is what writers have recorded. No other goroutine
// may use the MDB meanwhile.
func (m *mdb) check(t *testing.T) {
	t.Helper()
	if m.table == nil {
		if len(m.groups)+len(m.list)+len(m.nets) > 0 {
			t.Errorf("snooping is off, and the MDB has %d groups, %d VLANs", len(m.groups), len(m.nets))
		}
		return
	}
	shown := 0
	for i := range m.table.buckets {
		for g := m.table.buckets[i].Load(); g != nil; g = g.next {
			shown++
			if m.groups[g.key] == nil {
				t.Errorf("group %+v is shown and not recorded", g.key)
			}
		}
	}
	if shown != len(m.groups) || len(m.list) != len(m.groups) {
		t.Errorf("%d groups are shown, %d recorded, %d listed", shown, len(m.groups), len(m.list))
	}
	count, sources := make(map[*mcastPort]int), make(map[*mcastPort]int)
	fixed := 0
	for i, g := range m.list {
		if g.at != i || m.groups[g.key] != g || g.empty() {
			t.Errorf("group %+v with %d members is at %d, says %d", g.key, len(g.members), i, g.at)
		}
		fixed += len(g.fixed)
		for _, f := range g.fixed {
			if !m.table.find(g.key).wantedFrom(f.source).has(f.port.id) {
				t.Errorf("static member %d of %+v is not shown", f.port.id, g.key)
			}
		}
		for _, e := range g.members {
			count[e.port]++
			sources[e.port] += len(e.sources)
			if !e.port.open || e.gone() {
				t.Errorf("member %d of %+v: open %v, gone %v", e.port.id, g.key, e.port.open, e.gone())
			}
		}
		checkShown(t, m.table.find(g.key), g)
	}
	total := 0
	for p, n := range count {
		total += n
		if p.groups != n || p.sources != sources[p] {
			t.Errorf("port %d has %d memberships, %d sources, says %d, %d", p.id, n, sources[p], p.groups, p.sources)
		}
	}
	if total != m.total || fixed != m.fixed {
		t.Errorf("%d memberships and %d static ones, %d and %d counted", total, fixed, m.total, m.fixed)
	}
	for k, list := range m.nets {
		for _, e := range list {
			if !e.port.open || !m.table.net(k).Load().routers.has(e.port.id) {
				t.Errorf("router %d in %+v is not shown", e.port.id, k)
			}
		}
	}
}

// checkShown verifies that the data plane sends what comes from each source, and from another one,
// to the ports that want it.
func checkShown(t *testing.T, shown *mcastGroup, g *mdbGroup) {
	t.Helper()
	sources, n := map[groupAddr]bool{{1, 1}: true}, 0
	for _, e := range g.members {
		n += len(e.sources)
		for _, s := range e.sources {
			sources[s.addr] = true
		}
	}
	if n != g.sources {
		t.Errorf("group %+v has %d sources, says %d", g.key, n, g.sources)
	}
	for _, f := range g.fixed {
		sources[f.source] = true
	}
	for a := range sources {
		want := make(map[portID]bool)
		for _, e := range g.members {
			wants := e.exclude
			for _, s := range e.sources {
				if s.addr == a {
					wants = !s.blocked
				}
			}
			want[e.port.id] = want[e.port.id] || wants
		}
		for _, f := range g.fixed {
			if f.source == a || f.source == (groupAddr{}) {
				want[f.port.id] = true
			}
		}
		for id := range portID(64 * (len(*shown.wantedFrom(a)) + 1)) {
			if shown.wantedFrom(a).has(id) != want[id] {
				t.Errorf("group %+v, source %+v, port %d: shown %v", g.key, a, id, !want[id])
			}
		}
	}
}
