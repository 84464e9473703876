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
	count := make(map[*mcastPort]int)
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
			if !e.port.open || !m.table.find(g.key).ports.has(e.port.id) {
				t.Errorf("member %d of %+v: open %v, not shown", e.port.id, g.key, e.port.open)
			}
		}
	}
	total := 0
	for p, n := range count {
		total += n
		if p.groups != n {
			t.Errorf("port %d has %d memberships, says %d", p.id, n, p.groups)
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
