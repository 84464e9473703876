package worker

import (
	"testing"
	"time"
)

func TestParseSchedstat(t *testing.T) {
	for text, want := range map[string][2]time.Duration{
		"1500000000 20 7\n": {1500 * time.Millisecond, 20},
		"0 0 0\n":           {},
		"":                  {},
		"12 x 3":            {},
	} {
		if ran, waited := parseSchedstat(text); ran != want[0] || waited != want[1] {
			t.Errorf("%q: ran %v, waited %v", text, ran, waited)
		}
	}
}

// The time that a worker spins is processor time of its thread, although it is not busy.
func TestPollingUsesProcessorTime(t *testing.T) {
	if ran, _ := schedTimes(1 << 30); ran != 0 {
		t.Error("a thread that does not exist has run")
	}
	p := newPool(t, Config{Workers: 1, Poll: PollAlways})
	if err := p.Add(newFakeSource(t)); err != nil {
		t.Fatal(err)
	}
	until(t, "processor time", func() bool { return p.Stats()[0].Ran > 10*time.Millisecond })
	if s := p.Stats()[0]; s.Busy > s.Ran {
		t.Errorf("busy for %v of %v", s.Busy, s.Ran)
	}
}
