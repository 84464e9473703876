package vswitch_test

import (
	"testing"
	"time"

	vswitch "vswitchd/switch"
)

// What is remembered of a pair of addresses keeps nothing from changing: the destination moves, the
// source moves away and comes back, and the source's entry does not age while frames come.
func TestRememberedFramesFollowTheFDB(t *testing.T) {
	l := newLab(t, vswitch.Config{FDB: vswitch.FDBConfig{AgingTime: 5 * time.Second}})
	l.addAll("a", "b", "c")
	send := func(what string, want got) {
		t.Helper()
		for range 4 { // learned, looked up, remembered
			l.send("a", ether(macB, macA, what))
			l.want(what, want)
		}
	}
	l.send("b", ether(broadcast, macB, ""))
	l.got()
	send("first", got{"b": "first"})
	if l.ports["a"].in.Remembered() == 0 {
		t.Error("nothing is remembered")
	}
	l.send("c", ether(macA, macB, ""))
	l.got()
	send("moved", got{"c": "moved"})

	l.send("b", ether(macB, macA, "stolen"))
	l.want("stolen", got{"c": "stolen"})
	l.wantWhere(macA, 0, "b")
	send("returned", got{"c": "returned"})
	l.wantWhere(macA, 0, "a")

	// In one batch, B's address is learned where a frame to B comes from.
	l.send("a", ether(macB, macA, "to-b"), ether(macA, macB, "from-b"))
	l.want("B is behind a now", got{})
	l.send("c", ether(macA, macB, ""))
	l.got()

	for range 20 {
		l.send("a", ether(macB, macA, ""))
		l.send("c", ether(macA, macB, ""))
		l.advance(time.Second)
	}
	l.got()
	send("alive", got{"c": "alive"})
	l.wantWhere(macA, 0, "a")
	l.advance(4 * time.Second)
	l.send("a", ether(macB, macA, "in-time"))
	l.want("in time", got{"c": "in-time"})
	l.advance(2 * time.Second)
	l.send("a", ether(macB, macA, "too-late"))
	l.want("too late", got{"b": "too-late", "c": "too-late"})
}
