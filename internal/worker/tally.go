package worker

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// This file counts what a worker does. The worker counts in plain memory, and publishes that before
// it looks for events: an atomic store costs as much as a frame, and a look for events is a system
// call.

// BatchBounds are the upper bounds of Stats.Batches, in frames, both ends included.
var BatchBounds = [...]int{1, 3, 7, 15, 31, 63, MaxBatch}

// LatencyBounds are the upper bounds of Latencies.Counts but the last, which has none.
var LatencyBounds = [...]time.Duration{
	2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond,
}

// polls counts polls by the length in bits of the number of frames that they found: polls[0] found
// none, and polls[i+1] at most BatchBounds[i].
type polls [len(BatchBounds) + 1]uint64

// A tally is what a worker has done so far. Only the worker uses it.
type tally struct {
	work    uint64
	wakeups uint64
	pauses  uint64
	busy    int64 // nanoseconds
	slept   int64 // nanoseconds
	polls   polls
}

// published is the worker's tally as other goroutines see it.
type published struct {
	work, wakeups atomic.Uint64
	pauses        atomic.Uint64
	busy, awake   atomic.Int64
	asleep        atomic.Bool
	pausing       atomic.Bool
	polls         [len(polls{})]atomic.Uint64
	latencies     latencies // not in the tally: counted once for each wake-up
}

// publish publishes the tally.
func (w *worker) publish(now int64) {
	t, p := &w.tally, &w.published
	p.awake.Store(now - t.slept)
	if pausing := w.moderator.pause > 0; pausing != p.pausing.Load() {
		p.pausing.Store(pausing)
	}
	if t.wakeups != p.wakeups.Load() {
		p.wakeups.Store(t.wakeups)
	}
	if t.pauses != p.pauses.Load() {
		p.pauses.Store(t.pauses)
	}
	if t.work != p.work.Load() {
		p.work.Store(t.work)
		p.busy.Store(t.busy)
	}
	for i, n := range t.polls {
		if n != p.polls[i].Load() {
			p.polls[i].Store(n)
		}
	}
}

// polled counts a poll that has ended, and found n frames.
func (w *worker) polled(e *entry, n int, end int64) {
	w.tally.polls[bits.Len(uint(n))%len(w.tally.polls)]++ // n is at most MaxBatch
	if e.kicked == 0 {
		return
	}
	if n > 0 {
		w.published.latencies.add(end - e.kicked)
	}
	e.kicked = 0
}

// latencies are Latencies that are being counted.
type latencies struct {
	counts [len(LatencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (l *latencies) add(nanos int64) {
	i := 0
	for i < len(LatencyBounds) && nanos > int64(LatencyBounds[i]) {
		i++
	}
	l.counts[i].Add(1)
	l.sum.Add(nanos)
}

func (l *latencies) load() (s Latencies) {
	for i := range l.counts {
		s.Counts[i] = l.counts[i].Load()
	}
	s.Sum = time.Duration(l.sum.Load())
	return s
}
