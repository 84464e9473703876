package worker

import (
	"slices"
	"testing"
)

// A ticker is a source that has a unit of work now and then.
type ticker struct{ queued int }

func (s *ticker) FD() int   { return 0 }
func (s *ticker) Arm() bool { return s.queued > 0 }
func (s *ticker) Disarm()   {}

func (s *ticker) Poll() int {
	n := s.queued
	s.queued = 0
	return n
}

// period makes a source wake its worker with a frame, and returns for how long the worker polls the
// source. Further frames follow at the given intervals.
func period(w *worker, e *entry, clock *int64, gaps ...int64) int64 {
	src, began := e.src.(*ticker), *clock
	src.queued = 1
	w.activate(e, *clock)
	next := *clock
	for ; e.active; *clock += 1000 {
		if len(gaps) > 0 && *clock >= next+gaps[0] {
			next, gaps = *clock, gaps[1:]
			src.queued = 1
		}
		w.round(*clock)
		w.armIdle(*clock)
	}
	return *clock - 1000 - began
}

// A source whose frames are too far apart is no longer polled, except for a probe now and then;
// when polling pays again, it is polled as before.
func TestFutilePollingEnds(t *testing.T) {
	const poll = 50_000
	var clock int64
	w := &worker{clock: func() int64 { return clock }}
	w.poll.Store(poll)
	e := &entry{src: &ticker{}, port: new(portShare)}
	var want, got []int64
	for i := range 3 * probeInterval {
		got = append(got, period(w, e, &clock))
		clock += 100_000
		if i < futileLimit || i%probeInterval == 0 {
			want = append(want, poll)
		} else {
			want = append(want, 1000) // the next poll finds nothing
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("polled for %v, want %v", got, want)
	}
	if n := period(w, e, &clock, 40_000, 40_000); n != 2*40_000+poll {
		t.Errorf("polled for %d when work came meanwhile", n)
	}
	for i := range futileLimit {
		if n := period(w, e, &clock); n != poll {
			t.Errorf("polled for %d in period %d after polling has found work", n, i)
		}
	}
	if n := period(w, e, &clock); n != 1000 {
		t.Errorf("polled for %d after many futile periods", n)
	}
}

// Work that comes in just when the worker is about to arm a source shows that polling would pay.
func TestLateWorkShowsThatPollingPays(t *testing.T) {
	var clock int64
	w := &worker{clock: func() int64 { return clock }}
	w.poll.Store(50_000)
	e := &entry{src: &ticker{}, port: new(portShare)}
	for range futileLimit + 1 {
		period(w, e, &clock)
	}
	e.src.(*ticker).queued = 1
	w.activate(e, clock)
	w.round(clock) // the frame
	w.round(clock) // nothing
	e.src.(*ticker).queued = 1
	w.armIdle(clock)
	if !e.active {
		t.Fatal("armed with work to do")
	}
	w.round(clock)
	w.round(clock)
	if w.armIdle(clock + 49_000); !e.active {
		t.Error("polled for too short a time")
	}
	if w.armIdle(clock + 50_000); e.active {
		t.Error("polled for too long")
	}
}
