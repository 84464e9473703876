package vswitch_test

import (
	"testing"

	vswitch "vswitchd/switch"
)

// A watcher of the FDB is notified of every kind of change, and of nothing else.
func TestWatchFDB(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	changes, stop := l.s.WatchFDB()
	heard := func() bool {
		select {
		case <-changes:
			return true
		default:
			return false
		}
	}
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"nothing", func() {}, false},
		{"learned", func() { l.send("a", ether(broadcast, macA, "")) }, true},
		{"known", func() { l.send("a", ether(broadcast, macA, ""), ether(macA, macA, "")) }, false},
		{"moved", func() { l.send("b", ether(broadcast, macA, "")) }, true},
		{"many changes", func() { l.send("a", ether(broadcast, macB, ""), ether(broadcast, macC, "")) }, true},
		{"flushed", func() { _, _ = l.s.Flush(vswitch.FDBFilter{Port: "b", VLAN: vswitch.AnyVLAN}) }, true},
		{"flushed when empty", func() { _, _ = l.s.Flush(vswitch.FDBFilter{Port: "b", VLAN: vswitch.AnyVLAN}) }, false},
		{"static", func() { _ = l.s.AddFDB(vswitch.StaticEntry{MAC: macA, Port: "b"}) }, true},
		{"deleted", func() { _ = l.s.DelFDB(macA, 0) }, true},
		{"down", func() { l.ports["a"].SetUp(false) }, true},
		{"pinned", func() { l.add("c", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{macA} }) }, true},
		{"detached", func() { l.ports["c"].Detach() }, true},
		{"not watched any more", func() { stop(); l.send("b", ether(broadcast, macB, "")) }, false},
	} {
		step.do()
		if got := heard(); got != step.want {
			t.Errorf("%s: notified %v, want %v", step.what, got, step.want)
		}
		if heard() {
			t.Errorf("%s: notified twice", step.what)
		}
	}
}
