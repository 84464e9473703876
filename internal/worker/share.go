package worker

import "math"

// This file shares out a worker's time among ports.
//
// What a batch costs depends on what is in it: one of broadcasts, to a hundred ports, or one of
// frames of 64 KiB takes a thousand times as long as one of small frames. So what is shared out is
// time, by deficit round robin: each round gives every port share, a port that has used more sits
// out as many rounds as that was worth, and one that has used less, and has more to do, goes on.
//
// The unit is a port, not a source: a guest with 128 transmit queues has no more of the worker's
// time than one with a single queue. The sources of a port take turns; those that were left out
// when the port's time was used up come first the next time. Polls that find nothing take time, and
// are charged, too.

// A portShare is what the sources of a port that one worker serves have in common.
type portShare struct {
	key     any
	sources int
	debt    int64  // nanoseconds that its sources have had beyond its share
	round   uint64 // the last one that it was part of
	lap     uint64 // a lap is over when each active source has been polled
	waiting int    // active sources not polled in this lap
	active  int    // active sources
}

// join makes a source one of a port's.
func (w *worker) join(key any, e *entry) {
	p := w.ports[key]
	if p == nil {
		p = &portShare{key: key}
		if w.ports == nil {
			w.ports = make(map[any]*portShare)
		}
		w.ports[key] = p
	}
	p.sources++
	e.port = p
}

// leave makes a source no longer one of its port's.
func (w *worker) leave(e *entry) {
	if e.port.sources--; e.port.sources == 0 {
		delete(w.ports, e.port.key)
	}
}

// round polls active sources, as far as it is their ports' turn. It returns how much work there
// was, and the time.
func (w *worker) round(now int64) (worked int, after int64) {
	if len(w.active) == 1 {
		e := w.active[0]
		e.port.debt = 0
		if n := e.poll(now); n > 0 {
			return n, w.clock()
		}
		return 0, now
	}
	w.begin()
	for _, e := range w.active {
		if e.port.debt > 0 || e.lap == e.port.lap {
			continue
		}
		e.lap = e.port.lap
		for range max(1, maxPolls/e.port.active) {
			n := e.poll(now)
			worked += n
			was := now
			now = w.clock()
			if e.port.debt += now - was; e.port.debt >= 0 || n < fullBatch {
				break
			}
		}
	}
	return worked, now
}

// begin gives each port with active sources its share of a round, and of as many rounds more as
// nobody would be polled in.
func (w *worker) begin() {
	w.rounds++
	least := int64(math.MaxInt64)
	for _, e := range w.active {
		p := e.port
		if p.round != w.rounds {
			p.round, p.waiting, p.active = w.rounds, 0, 0
			least = min(least, p.debt-share)
		}
		if p.active++; e.lap != p.lap {
			p.waiting++
		}
	}
	turn := share + max(least, 0)
	w.rounds++
	for _, e := range w.active {
		p := e.port
		if p.round == w.rounds {
			continue
		}
		p.round = w.rounds
		if p.debt -= turn; p.debt > 0 {
			continue
		}
		p.debt = max(p.debt, -share) // nothing is saved up
		if p.waiting == 0 {
			p.lap++
		}
	}
}
