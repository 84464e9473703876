package vswitch_test

import (
	"fmt"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// events checks all event counters of a port that are not zero.
func (l *lab) events(port string, want map[string]uint64) {
	l.t.Helper()
	have := map[string]uint64{}
	for e, n := range l.ports[port].counters.FDB().ByName() {
		if n > 0 {
			have[e] = n
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		l.t.Errorf("events at %s: %v, want %v", port, have, want)
	}
}

type events = map[string]uint64

func TestFDBEvents(t *testing.T) {
	l := newLab(t, vswitch.Config{FDB: vswitch.FDBConfig{AgingTime: 60 * time.Second}})
	l.addAll("a", "b")
	l.add("pinned", pinned(macB))
	l.add("few", func(c *vswitch.PortConfig) { c.MaxMACs = 1 })
	from := func(port string, mac vswitch.MAC) { l.send(port, ether(broadcast, mac, "x")) }

	from("a", macA)
	from("a", macA)
	l.events("a", events{"learned": 1})
	from("b", macA) // a move
	l.events("a", events{"learned": 1})
	l.events("b", events{"moved": 1})
	from("a", macB) // another port's address
	l.events("a", events{"learned": 1, "static_claims": 1})
	l.events("pinned", events{})
	from("few", vswitchtest.Station(1))
	from("few", vswitchtest.Station(2))
	from("few", vswitchtest.Station(3))
	l.events("few", events{"learned": 1, "limited": 2})
	l.s.WithLockedFDB(func() { from("b", macC) })
	l.events("b", events{"moved": 1, "contended": 1})
	l.advance(80 * time.Second)
	l.events("b", events{"moved": 1, "contended": 1, "expired": 1})
	l.events("few", events{"learned": 1, "limited": 2, "expired": 1})

	total := l.s.FDBEvents().ByName()
	want := events{
		"learned": 2, "moved": 1, "flapped": 0, "expired": 2, "evicted": 0,
		"static_claims": 1, "held": 0, "limited": 2, "contended": 1, "full": 0,
	}
	if fmt.Sprint(total) != fmt.Sprint(want) {
		t.Errorf("in total %v, want %v", total, want)
	}
	st := l.s.Stats()
	if st.Learned != 2 || st.Moved != 1 || st.Expired != 2 || st.StaticClaims != 1 || st.Limited != 2 || st.Contended != 1 {
		t.Errorf("%+v", st)
	}
}

// An eviction is counted at the port that has lost the entry.
func TestEvictionsAreCountedAtTheLoser(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 20})
	l.addAll("many", "few")
	for i := range 20 {
		l.send("many", ether(broadcast, vswitchtest.Station(100+i), "x"))
	}
	l.send("few", ether(broadcast, macA, "x"))
	l.events("few", events{"learned": 1})
	l.events("many", events{"learned": 20, "evicted": 1})
}

// The counts outlive the port's attachment, as all counters do.
func TestEventsOutliveThePort(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.send("a", ether(broadcast, macA, "x"))
	cfg := a.Config()
	a.Detach()
	b, err := l.s.Attach(cfg, &vswitchtest.Recorder{Counters: cfg.Counters})
	if err != nil {
		t.Fatal(err)
	}
	b.SetUp(true)
	in := b.NewInlet()
	in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macA, "y"))})
	l.events("a", events{"learned": 2})
}

// An address that moves once has followed its guest. If an address moves back and forth, there are
// two stations with that address, or there is a loop: these moves are counted as flaps at the ports
// to which the address moves, and reported with an example.
func TestFlappingAddresses(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	send := func(port string) { l.send(port, ether(broadcast, macA, "x", tag(0, 7))) }

	send("a")
	send("b")
	l.events("b", events{"moved": 1})
	if c := l.s.Conflicts(); len(c) != 0 {
		t.Errorf("one move is reported as %+v", c)
	}
	l.advance(11 * time.Second) // the address moves again, later
	send("c")
	l.events("c", events{"moved": 1})

	for range 5 {
		send("a")
		send("b")
	}
	l.events("a", events{"learned": 1, "moved": 5, "flapped": 5})
	l.events("b", events{"moved": 6, "flapped": 5})
	want := []vswitch.Conflict{
		{Port: "a", Kind: vswitch.ConflictFlap, Count: 5, MAC: macA, VLAN: 7, Other: "b"},
		{Port: "b", Kind: vswitch.ConflictFlap, Count: 5, MAC: macA, VLAN: 7, Other: "a"},
	}
	if c := l.s.Conflicts(); fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("conflicts %+v, want %+v", c, want)
	}
	if c := l.s.Conflicts(); len(c) != 0 {
		t.Errorf("reported twice: %+v", c)
	}
}

// Frames with a pinned source address from another port are reported with the port to which the
// address is pinned.
func TestClaimsAreConflicts(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", pinned(macA))
	l.add("b", vlanPort(vswitch.VLANAccess, 5), pinned(macB))
	l.add("thief")
	l.send("thief", ether(broadcast, macA, "x", tag(0, 9)), ether(broadcast, macA, "y", tag(0, 9)))
	want := vswitch.Conflict{Port: "thief", Kind: vswitch.ConflictClaim, Count: 2, MAC: macA, VLAN: 9, Other: "a"}
	if c := l.s.Conflicts(); len(c) != 1 || c[0] != want {
		t.Errorf("conflicts %+v, want %+v", c, want)
	}
	l.send("thief", ether(broadcast, macB, "x", tag(0, 5)))
	want = vswitch.Conflict{Port: "thief", Kind: vswitch.ConflictClaim, Count: 1, MAC: macB, VLAN: 5, Other: "b"}
	if c := l.s.Conflicts(); len(c) != 1 || c[0] != want {
		t.Errorf("conflicts %+v, want %+v", c, want)
	}
}
