package daemon

import (
	"errors"
	"testing"

	"vswitchd/internal/control"
)

// since returns what a port has received since its counters were reset, and whether they were.
func (l *lab) since(name string) (frames uint64, reset bool) {
	l.Helper()
	for _, st := range l.d.Backend().StatsSinceReset() {
		if st.Name == name {
			return st.Counters.RxFrames, st.Reset
		}
	}
	l.Fatalf("there is no port %s", name)
	return 0, false
}

// A reset sets back what is shown since the reset, of the ports that it is for, and nothing else;
// it stays with a port that is renamed.
func TestStatsReset(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	b := l.d.Backend()
	count := func(n uint64) {
		for _, m := range l.d.snapshot() {
			m.counters.RxFrames.Add(n)
		}
	}
	want := func(name string, frames uint64, reset bool) {
		t.Helper()
		if n, is := l.since(name); n != frames || is != reset {
			t.Errorf("%s: %d frames, reset %v; want %d, %v", name, n, is, frames, reset)
		}
	}
	count(7)
	want("a", 7, false)
	if n, err := b.ResetStats("a"); n != 1 || err != nil {
		t.Fatalf("%d ports, %v", n, err)
	}
	count(1)
	want("a", 1, true)
	want("b", 8, false)
	l.reload("[port.new]\nsocket = \"$a.sock\"\n[port.b]\n", "port a renamed to new")
	want("new", 1, true)
	if n, err := b.ResetStats(""); n != 2 || err != nil {
		t.Fatalf("%d ports, %v", n, err)
	}
	want("new", 0, true)
	want("b", 0, true)
	if p := l.port("b"); p.Counters.RxFrames != 8 || b.Stats()[0].Counters.RxFrames != 8 {
		t.Errorf("the counters have gone back: %+v", p.Counters)
	}
	if _, err := b.ResetStats("nobody"); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("reset of no port: %v", err)
	}
	l.reload("[port.b]\n", "port new removed")
	l.reload("[port.b]\n[port.c]\n", "port c added")
	want("c", 0, false)
	if _, err := b.ResetStats("c"); err != nil {
		t.Fatal(err)
	}
	if n := len(l.d.resets.load()); n != 2 {
		t.Errorf("%d resets are kept for 2 ports", n)
	}
}
