package vswitch_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

var recordNames = map[vswitch.RecordKind]string{
	vswitch.RecordLearned: "learned", vswitch.RecordMoved: "moved", vswitch.RecordExpired: "expired", vswitch.RecordEvicted: "evicted",
	vswitch.RecordAdded: "added", vswitch.RecordRemoved: "removed", vswitch.RecordFlushed: "flushed",
	vswitch.RecordJoined: "joined", vswitch.RecordLeft: "left", vswitch.RecordMemberExpired: "member-expired",
	vswitch.RecordMemberAdded: "member-added", vswitch.RecordMemberRemoved: "member-removed", vswitch.RecordMemberFlushed: "members-flushed",
	vswitch.RecordPort: "port",
}

// recorded describes the records of a journal since the last call.
func recorded(t *testing.T, j *vswitch.Journal) string {
	t.Helper()
	records, lost := j.Take(nil)
	var list []string
	for _, r := range records {
		text := recordNames[r.What] + " " + r.Port
		if r.Other != "" {
			text += "<" + r.Other
		}
		switch {
		case r.Group.IsValid():
			text += fmt.Sprintf(" %v/%d", r.Group, r.VLAN)
			if r.Source.IsValid() {
				text += fmt.Sprint(" from ", r.Source)
			}
		case r.Count > 0:
			text += fmt.Sprintf(" %d %v", r.Count, r.Cause)
		case r.What != vswitch.RecordPort:
			text += fmt.Sprintf(" %x/%d %v", r.MAC[5], r.VLAN, r.Type)
			if r.All {
				text += " all"
			}
		}
		if r.At.IsZero() {
			t.Errorf("%s has no time", text)
		}
		list = append(list, text)
	}
	if lost != (vswitch.Lost{}) {
		list = append(list, fmt.Sprintf("%d and %d lost", lost.FDB, lost.Groups))
	}
	return strings.Join(list, ", ")
}

// Every change of the FDB, of the multicast database and of a port's state is recorded.
func TestJournal(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 3, FDB: vswitch.FDBConfig{AgingTime: 10 * time.Second}, Mcast: vswitch.McastConfig{Snooping: true}})
	l.addAll("a", "b")
	j := l.s.OpenJournal(100)
	group := nthGroup(false, 1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	static := vswitch.StaticGroup{Group: group, Source: netip.MustParseAddr("10.0.0.7"), Port: "b"}
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"nothing", func() {}, ""},
		{"learned", func() { l.send("a", ether(broadcast, macA, "")) }, "learned a a/0 dynamic"},
		{"known", func() { l.send("a", ether(broadcast, macA, "")) }, ""},
		{"moved", func() { l.send("b", ether(broadcast, macA, "")) }, "moved b<a a/0 dynamic"},
		{"expired", func() { l.advance(30 * time.Second) }, "expired b a/0 dynamic"},
		{"more", func() {
			l.send("a", ether(broadcast, macA, ""), ether(broadcast, macB, ""), ether(broadcast, macC, ""))
		},
			"learned a a/0 dynamic, learned a b/0 dynamic, learned a c/0 dynamic"},
		{"static", func() { _ = l.s.AddFDB(vswitch.StaticEntry{MAC: macA, Port: "b"}) }, "added b a/0 static"},
		{"evicted", func() { l.send("b", ether(broadcast, vswitchtest.Station(0xd), "")) }, "evicted a b/0 dynamic, learned b d/0 dynamic"},
		{"deleted", func() { _ = l.s.DelFDB(macA, 0) }, "removed b a/0 static"},
		{"flushed", func() { _, _ = l.s.Flush(vswitch.FDBFilter{Port: "b", VLAN: vswitch.AnyVLAN}) }, "flushed b 1 by-hand"},
		{"flushed when empty", func() { _, _ = l.s.Flush(vswitch.FDBFilter{Port: "b", VLAN: vswitch.AnyVLAN}) }, ""},
		{"blackhole", func() { _ = l.s.AddFDB(vswitch.StaticEntry{MAC: macB, Kind: vswitch.FDBBlackhole, All: true}) }, "added  b/0 blackhole all"},
		{"blackhole removed", func() { _ = l.s.DelFDB(macB, vswitch.AnyVLAN) }, "removed  b/0 blackhole all"},
		{"down", func() { l.ports["a"].SetUp(false) }, "port a, flushed a 1 port-down"},
		{"up", func() { l.ports["a"].SetUp(true) }, "port a"},
		{"VLANs", func() {
			l.send("a", ether(broadcast, macA, ""))
			c := l.ports["a"].Config()
			c.Name, c.Tag = "renamed", 7
			must(l.ports["a"].Reconfigure(c))
			l.send("a", ether(broadcast, macA, ""))
		}, "learned a a/0 dynamic, flushed renamed 1 vlans-changed, learned renamed a/7 dynamic"},
		{"pinned", func() { l.add("c", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{macB} }) }, "added c b/0 static all, port c"},
		{"detached", func() { l.ports["c"].Detach() }, "removed c b/0 static all"},
		{"joined", func() { l.send("b", oldReport(macB, group, 0)) }, "learned b b/0 dynamic, joined b 239.1.0.1/0"},
		{"static member", func() { must(l.s.AddGroup(static)) }, "member-added b 239.1.0.1/0 from 10.0.0.7"},
		{"static member removed", func() { must(l.s.DelGroup(static)) }, "member-removed b 239.1.0.1/0 from 10.0.0.7"},
		{"flushed under its new name", func() { _, _ = l.s.Flush(vswitch.FDBFilter{Port: "renamed", VLAN: 7}) }, "flushed renamed 1 by-hand"},
		{"member expired", func() { l.advance(262 * time.Second) }, "expired b b/0 dynamic, member-expired b 239.1.0.1/0"},
		{"port of a member", func() { l.send("b", oldReport(macB, group, 0)); l.ports["b"].Detach() },
			"learned b b/0 dynamic, joined b 239.1.0.1/0, flushed b 1 port-removed, members-flushed b 1 port-down"},
		{"closed", func() { j.Close(); l.send("a", ether(broadcast, macC, "")) }, ""},
	} {
		step.do()
		if got := recorded(t, j); got != step.want {
			t.Errorf("%s: recorded %q, want %q", step.what, got, step.want)
		}
	}
}

// A journal that nobody reads loses records and counts them; it tells its reader once.
func TestJournalIsBounded(t *testing.T) {
	l := newLab(t, vswitch.Config{Mcast: vswitch.McastConfig{Snooping: true}})
	l.addAll("a", "b")
	j := l.s.OpenJournal(2)
	l.send("a", ether(broadcast, macA, ""), ether(broadcast, macB, ""), ether(broadcast, macC, ""))
	l.send("b", ether(broadcast, macC, ""))
	if err := l.s.AddGroup(vswitch.StaticGroup{Group: nthGroup(false, 1), Port: "b"}); err != nil {
		t.Fatal(err)
	}
	l.ports["a"].SetUp(false) // loses a record of the port, which does not count, and one of the FDB
	<-j.Ready()
	if got, want := recorded(t, j), "learned a a/0 dynamic, learned a b/0 dynamic, 3 and 1 lost"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	select {
	case <-j.Ready():
		t.Error("the reader was told twice")
	default:
	}
	l.send("b", ether(broadcast, macB, ""))
	<-j.Ready()
	if got, want := recorded(t, j), "learned b b/0 dynamic"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

// A second journal takes the place of the first.
func TestJournalIsReplaced(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	first, second := l.s.OpenJournal(9), l.s.OpenJournal(9)
	first.Close()
	l.send("a", ether(broadcast, macA, ""))
	if got := recorded(t, first) + recorded(t, second); got != "learned a a/0 dynamic" {
		t.Errorf("recorded %q", got)
	}
}
