package worker

import (
	"testing"
	"time"
)

// Each poll is counted once, by the number of frames that it found.
func TestBatchesAreCountedBySize(t *testing.T) {
	var clock int64
	w := &worker{clock: func() int64 { return clock }}
	m := &meter{clock: &clock, cost: 100}
	w.active = []*entry{{src: m, id: -1, port: new(portShare)}}
	for m.batch = range MaxBatch + 1 {
		w.round(clock)
	}
	w.publish(clock)
	s := w.stats()
	low, frames := 0, 0
	for i, most := range BatchBounds {
		if got := s.Batches[i]; got != uint64(most-low) {
			t.Errorf("%d batches of %d to %d frames, want one of each size", got, low+1, most)
		}
		frames += most
		low = most
	}
	if s.EmptyPolls != 1 {
		t.Errorf("%d empty polls, want 1", s.EmptyPolls)
	}
}

// The latency of a kick ends with the first batch that follows. A kick after which nothing is found
// has none, and neither has a batch that no kick announced.
func TestLatencies(t *testing.T) {
	const cost, waited = 3_000, 40_000
	for name, c := range map[string]struct {
		sources int
		want    []int // buckets of LatencyBounds
	}{
		"alone":       {1, []int{4}},    // 43 microseconds
		"one of many": {3, []int{4, 4}}, // 43 and 46
	} {
		t.Run(name, func(t *testing.T) {
			clock := int64(1)
			w := &worker{clock: func() int64 { return clock }}
			for i := range c.sources {
				m := &meter{clock: &clock, cost: cost, batch: MaxBatch - 1}
				if i == 2 {
					m.batch = 0
				}
				w.activate(&entry{src: m, id: -1, kicked: clock, port: new(portShare)}, clock)
			}
			clock += waited
			var sum time.Duration
			for i := range c.want {
				sum += waited + cost*time.Duration(i+1)
			}
			for range 3 {
				w.round(clock)
			}
			var want Latencies
			want.Sum = sum
			for _, i := range c.want {
				want.Counts[i]++
			}
			if got := w.stats().Latencies; got != want {
				t.Errorf("latencies are %+v, want %+v", got, want)
			}
		})
	}
}

// A latency is counted in the first bucket whose bound it does not exceed.
func TestLatencyBounds(t *testing.T) {
	var l latencies
	var want Latencies
	for i, bound := range LatencyBounds {
		l.add(int64(bound))
		l.add(int64(bound) + 1)
		want.Counts[i]++
		want.Counts[i+1]++
		want.Sum += 2*bound + 1
	}
	if got := l.load(); got != want {
		t.Errorf("latencies are %+v, want %+v", got, want)
	}
}

// A worker that waits for events says so, is not awake meanwhile, and has published all that it has
// done.
func TestSleepingWorkerHasPublished(t *testing.T) {
	p := newPool(t, Config{Workers: 1, Poll: 50 * time.Microsecond})
	src := newFakeSource(t)
	if err := p.Add(src); err != nil {
		t.Fatal(err)
	}
	until(t, "the worker sleeps", func() bool { return p.Stats()[0].Asleep })
	before := p.Stats()[0]
	src.produce(5)
	until(t, "the worker has been woken, and sleeps again", func() bool {
		s := p.Stats()[0]
		return s.Asleep && s.Work == before.Work+5
	})
	s := p.Stats()[0]
	if s.Wakeups <= before.Wakeups || s.Awake <= before.Awake || s.Busy <= before.Busy || s.Awake > s.Up {
		t.Errorf("%+v, before %+v", s, before)
	}
	if s.Batches[2] != before.Batches[2]+1 || s.EmptyPolls <= before.EmptyPolls {
		t.Errorf("batches %v and %d empty polls, before %v and %d", s.Batches, s.EmptyPolls, before.Batches, before.EmptyPolls)
	}
	var kicks uint64
	for i, n := range s.Latencies.Counts {
		kicks += n - before.Latencies.Counts[i]
	}
	if kicks != 1 || s.Latencies.Sum <= before.Latencies.Sum {
		t.Errorf("latencies %+v, before %+v", s.Latencies, before.Latencies)
	}
	time.Sleep(time.Millisecond)
	if now := p.Stats()[0]; now.Asleep && now.Wakeups == s.Wakeups && now.Awake != s.Awake {
		t.Errorf("awake for %v, and later for %v, without having been woken", s.Awake, now.Awake)
	}
}
