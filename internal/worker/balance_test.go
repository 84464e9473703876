package worker

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	a, b, c := &fakeSource{}, &fakeSource{}, &fakeSource{}
	for name, tc := range map[string]struct {
		loads    []load
		from, to float64
		want     Source
	}{
		"nothing there":            {nil, 1, 0, nil},
		"one source":               {[]load{{a, 100}}, 1, 0, nil},
		"one source and idle ones": {[]load{{a, 100}, {b, 0}, {c, 0}}, 1, 0, nil},
		"two of the same":          {[]load{{a, 100}, {b, 100}}, 1, 0, a},
		"a big and a small one":    {[]load{{a, 900}, {b, 100}}, 1, 0, a}, // leaves b room to grow
		"the one that fits":        {[]load{{a, 600}, {b, 150}, {c, 250}}, 1, 0.5, c},
		"none that fits":           {[]load{{a, 500}, {b, 500}}, 1, 0.9, nil},
		"not worth it":             {[]load{{a, 950}, {b, 50}}, 1, 0.5, nil},
		"no work at all":           {[]load{{a, 0}, {b, 0}}, 0.9, 0, nil},
	} {
		if got := choose(tc.loads, tc.from, tc.to); got != tc.want {
			t.Errorf("%s: %p; a is %p, b %p, c %p", name, got, a, b, c)
		}
	}
}

// A busySource always has work.
type busySource struct {
	fakeSource
	on atomic.Bool
}

func (s *busySource) Poll() int {
	if !s.on.Load() {
		return s.fakeSource.Poll()
	}
	s.queued.Store(64)
	for range 20_000 { // some microseconds
		s.polls.Add(1)
	}
	return s.fakeSource.Poll()
}

// Sources that were distributed while they were idle are distributed again when it shows which of
// them have work; no work is lost in the move, and no source is polled by two workers at a time.
func TestLoadMoves(t *testing.T) {
	p := newPool(t, Config{Workers: 2, Poll: 50 * time.Microsecond})
	var srcs [4]*busySource
	for i := range srcs {
		srcs[i] = &busySource{}
		srcs[i].fd = newFakeSource(t).fd
		srcs[i].armed.Store(true)
		if err := p.Add(srcs[i]); err != nil {
			t.Fatal(err)
		}
	}
	place := func(s Source) *worker {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.where[s]
	}
	if place(srcs[0]) != place(srcs[2]) {
		t.Fatal("sources 0 and 2 should be with one worker, because they were added in turn")
	}
	for _, i := range []int{0, 2} {
		srcs[i].on.Store(true)
		srcs[i].kick()
	}
	until(t, "the busy sources have a worker each", func() bool { return place(srcs[0]) != place(srcs[2]) })
	moved := p.Stats()[0].Moved + p.Stats()[1].Moved
	if moved != 1 {
		t.Errorf("%d sources were moved", moved)
	}
	for _, s := range srcs {
		s.on.Store(false)
		done := s.done.Load() + s.queued.Load()
		s.produce(7)
		until(t, "all work is done", func() bool { return s.done.Load() >= done+7 })
		if s.overlaps.Load() != 0 {
			t.Error("a source was polled by two workers at a time")
		}
	}
}

// While all workers are idle none is woken to measure load.
func TestIdleWorkersAreNotBalanced(t *testing.T) {
	p := newPool(t, Config{Workers: 2})
	for range 4 {
		if err := p.Add(newFakeSource(t)); err != nil {
			t.Fatal(err)
		}
	}
	var before []Stats
	until(t, "the workers sleep", func() bool {
		before = p.Stats()
		time.Sleep(5 * time.Millisecond)
		now := p.Stats()
		return before[0].Wakeups == now[0].Wakeups && before[1].Wakeups == now[1].Wakeups
	})
	for i := range 5 {
		p.rebalance(time.Now().Add(time.Duration(i) * time.Second))
	}
	for i, s := range p.Stats() {
		if s.Wakeups != before[i].Wakeups || s.Moved != 0 {
			t.Errorf("worker %d: %+v, before %+v", i, s, before[i])
		}
	}
}
