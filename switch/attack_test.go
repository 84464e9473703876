package vswitch_test

import (
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// flooder sends frames from the n addresses of the series that begin with the from-th.
func (l *lab) flooder(port string, from, n int) {
	batch := make([]vswitch.Frame, 0, vswitch.MaxBatch)
	for i := range n {
		batch = append(batch, vswitchtest.Frame(ether(broadcast, vswitchtest.Station(from+i), "")))
		if len(batch) == vswitch.MaxBatch || i == n-1 {
			l.ports[port].in.Deliver(batch)
			batch = batch[:0]
		}
	}
	l.got()
}

func TestMACFloodCannotEvictOthers(t *testing.T) {
	const size, mine = 256, 20
	l := newLab(t, vswitch.Config{TableSize: size})
	l.addAll("victim", "mallory", "peer")
	l.flooder("victim", 1000, mine)
	l.flooder("mallory", 100_000, 10*size)
	if n := len(l.s.FDB("victim", vswitch.AnyVLAN)); n != mine {
		t.Errorf("%d of the victim's %d entries are left", n, mine)
	}
	l.send("peer", ether(vswitchtest.Station(1000), macC, "secret"))
	l.want("traffic to the victim", got{"victim": "secret"})

	// A port that comes late gets entries, at the expense of the flooding port.
	l.flooder("peer", 2000, mine)
	if n := len(l.s.FDB("peer", vswitch.AnyVLAN)); n != mine+1 {
		t.Errorf("the port that came late has %d entries, want %d", n, mine+1)
	}
	if n := len(l.s.FDB("victim", vswitch.AnyVLAN)); n != mine {
		t.Errorf("%d of the victim's %d entries are left", n, mine)
	}
	if st := l.s.Stats(); st.Entries != size {
		t.Errorf("%d entries in a table of %d", st.Entries, size)
	}
}

// TestMACFloodAtATie: no port has more entries than the victim; the flooding port must not evict
// any of these to get more.
func TestMACFloodAtATie(t *testing.T) {
	const size = 256
	l := newLab(t, vswitch.Config{TableSize: size})
	l.addAll("victim", "mallory")
	l.flooder("victim", 1000, size/2)
	l.flooder("mallory", 100_000, 2*size)
	if n := len(l.s.FDB("victim", vswitch.AnyVLAN)); n != size/2 {
		t.Errorf("%d of the victim's %d entries are left", n, size/2)
	}
}

// TestMACFloodInManyVLANs: one address in many VLANs takes no more of the table than many
// addresses.
func TestMACFloodInManyVLANs(t *testing.T) {
	const size, mine = 256, 20
	l := newLab(t, vswitch.Config{TableSize: size})
	l.addAll("victim", "mallory")
	l.flooder("victim", 1000, mine)
	for vid := range 4096 {
		l.send("mallory", ether(broadcast, macB, "", tag(0, vid)))
	}
	if n := len(l.s.FDB("victim", vswitch.AnyVLAN)); n != mine {
		t.Errorf("%d of the victim's %d entries are left", n, mine)
	}
}

// TestMACFloodIsThrottled: a port can cause a limited number of evictions in a second, so that it
// cannot keep the lock busy.
func TestMACFloodIsThrottled(t *testing.T) {
	const size = 256
	l := newLab(t, vswitch.Config{TableSize: size})
	l.addAll("mallory", "victim")
	l.flooder("mallory", 100_000, 5000)
	first := l.s.Stats()
	if first.Evicted == 0 || first.Evicted > 1024 || first.Evicted+first.Limited+size != 5000 {
		t.Errorf("stats %+v after 5000 new addresses in one second", first)
	}
	l.flooder("victim", 1000, 1) // is not throttled
	l.wantWhere(vswitchtest.Station(1000), 0, "victim")
	l.advance(time.Second)
	l.flooder("mallory", 200_000, 5000)
	if st := l.s.Stats(); st.Evicted-first.Evicted < 1000 {
		t.Errorf("stats %+v: nothing learned in the next second", st)
	}
}

// TestReconnectingFloodCannotEvictOthers: a port that goes down and up again does not get more of
// the table.
func TestReconnectingFloodCannotEvictOthers(t *testing.T) {
	const size, mine = 64, 20
	l := newLab(t, vswitch.Config{TableSize: size})
	l.addAll("victim", "mallory")
	l.flooder("victim", 1000, mine)
	for range 10 {
		l.flooder("mallory", 100_000, 2*size)
		l.ports["mallory"].SetUp(false)
		if n := len(l.s.FDB("mallory", vswitch.AnyVLAN)); n != 0 {
			t.Fatalf("%d entries of a port that is down", n)
		}
		l.ports["mallory"].SetUp(true)
	}
	if n := len(l.s.FDB("victim", vswitch.AnyVLAN)); n != mine {
		t.Errorf("%d of the victim's %d entries are left", n, mine)
	}
}

// TestBusyTableDoesNotStopForwarding: a goroutine that holds the FDB's lock delays no frames, only
// the learning of their addresses.
func TestBusyTableDoesNotStopForwarding(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macB, ""))
	l.got()
	l.s.WithLockedFDB(func() {
		l.send("a", ether(macB, macA, "1"), ether(broadcast, macA, "2"), ether(macB, macB, "3"))
		l.want("while the table is locked", got{"b": "1 2 3", "c": "2"})
	})
	l.wantWhere(macA, 0, "")
	l.wantWhere(macB, 0, "b")
	if st := l.s.Stats(); st.Contended != 3 {
		t.Errorf("stats %+v, want 3 contended", st)
	}
	l.send("a", ether(macB, macA, "4"))
	l.wantWhere(macA, 0, "a")
}
