package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vswitchd/test/station"
)

// faultRounds is how often each row of the table of failures is tried.
const faultRounds = 2

// faulty builds the program with points at which it can be ended.
func faulty(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "vswitchd")
	if out, err := exec.Command("go", "build", "-tags", "faults", "-o", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return name
}

// A fault is a row of the table of failures in docs/upgrade.md: one process dies at a step.
type fault struct {
	old, new string // where which process dies; "": not at all
	serves   string // who serves the guests afterwards
}

// Whichever process dies at whichever step, guests are served by exactly one process afterwards:
// the other one, unless the process that dies has everything alone.
func TestFailures(t *testing.T) {
	program := faulty(t)
	for _, f := range []fault{
		{old: "old-hello", serves: "nobody"},
		{old: "old-ready", serves: "nobody"},
		{old: "old-frozen", serves: "nobody"},
		{old: "old-sent", serves: "new"},
		{old: "old-taken", serves: "new"},
		{old: "old-gone", serves: "new"},
		{new: "new-prepared", serves: "old"},
		{new: "new-adopted", serves: "old"},
		{new: "new-taken", serves: "old"},
		{new: "new-gone", serves: "old"},
		{new: "new-acked", serves: "nobody"},
	} {
		t.Run(f.old+f.new, func(t *testing.T) {
			for range faultRounds {
				f.try(t, program)
			}
		})
	}
}

func (f *fault) try(t *testing.T, program string) {
	t.Setenv("VSWITCHD_FAULT", f.old)
	r := newRelayRaceOf(t, program, "loop_detection = false\n[port.a]\n[port.b]\n")
	stations := r.talk("a", "b")
	t.Setenv("VSWITCHD_FAULT", f.new)
	old, new := r.now, r.start(program, "--takeover")
	lives := map[string]*runner{"old": old, "new": new}[f.serves]
	for _, p := range []*runner{old, new} {
		if p == lives {
			continue
		}
		select {
		case <-p.exited:
		case <-time.After(time.Minute):
			t.Fatal("both processes live")
		}
	}
	if lives != nil {
		r.now = lives
		r.serves(stations)
		return
	}
	// As a supervisor would.
	for _, s := range stations {
		_ = s.Die() // it has lost its switch
	}
	t.Setenv("VSWITCHD_FAULT", "")
	r.now = r.start(program)
	r.answers()
	r.serves(r.talk("a", "b"))
}

// talk connects a station to each port, which talk to the next one.
func (r *relayRace) talk(ports ...string) (stations []*station.Station) {
	r.Helper()
	for i, name := range ports {
		s, err := station.Connect(filepath.Join(r.dir, name+".sock"), station.Config{MAC: station.Addr(byte(i + 1))})
		if err != nil {
			r.Fatal(err)
		}
		stations = append(stations, s)
	}
	for i, s := range stations {
		s.Talk(stations[(i+1)%len(stations)].MAC(), 16)
		s.Start()
	}
	for _, s := range stations {
		if err := s.Await(100); err != nil {
			r.Fatal(err)
		}
	}
	return stations
}

// serves fails unless stations have lost nothing, and can talk.
func (r *relayRace) serves(stations []*station.Station) {
	r.Helper()
	for _, s := range stations {
		if err := s.Await(200); err != nil {
			r.Fatal(err)
		}
	}
	for _, s := range stations {
		if err := s.Drain(); err != nil {
			r.Fatal(err)
		}
	}
	for _, s := range stations {
		if err := s.Leave(); err != nil {
			r.Fatal(err)
		}
	}
}
