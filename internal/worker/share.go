package worker

import "golang.org/x/sys/cpu"

import "math"

// This file divides a worker's time among ports.
//
// The cost of a batch depends on its contents: a batch of broadcasts to a hundred ports, or of
// frames of 64 KiB, takes a thousand times as long as one of small frames. So time is divided, not
// batches, by deficit round robin: each round grants every port the same time (share). A port that
// has used more skips rounds until that is paid off, and a port that has used less, and has more to
// do, is polled again.
//
// The unit is a port, not a source: a guest with 128 transmit queues gets no more of the worker's
// time than one with a single queue. The sources of a port take turns; those that were not polled
// when the port's time was used up come first the next time. Polls that find nothing take time, and
// are charged, too.

// Floods are different: a hundred ports that send broadcasts would get nearly all of the time,
// since each of them gets its share, and each of their batches is a hundred times as much work as
// another port's. So all floods together get no more time than one port, if other ports have work.
// They take turns: a port pays for its flood as much as if all other ports that flood had sent the
// same.

// floods is the common state of sources whose last batch was a flood.
type floods struct {
	debt  int64 // nanoseconds that floods have used beyond the share of one port
	ports int64 // active ports whose last batch was a flood
}

// A portShare is the common state of the sources of a port that one worker serves.
type portShare struct {
	key     any
	sources int
	debt    int64  // nanoseconds that its sources have used beyond the port's share
	round   uint64 // the last round that the port took part in
	lap     uint64 // a lap is over when each active source has been polled
	waiting int    // active sources that have not been polled in this lap
	active  int    // active sources

	flooding bool // its last batch was a flood

	_ cpu.CacheLinePad // what lies behind may be another worker's
}

// mayPoll reports whether it is a source's turn.
func (w *worker) mayPoll(e *entry) bool {
	return e.port.debt <= 0 && e.lap != e.port.lap && (!e.flooding || w.floods.debt <= 0)
}

// charge makes a port, and all ports that flood, pay for a batch.
func (w *worker) charge(e *entry, spent int64) {
	if e.flooder != nil {
		e.flooding = e.flooder.Flooding()
		e.port.flooding = e.flooding
	}
	if e.flooding {
		w.floods.debt += spent
		spent *= max(w.floods.ports, 1)
	}
	e.port.debt += spent
}

// join adds a source to its port.
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

// leave removes a source from its port.
func (w *worker) leave(e *entry) {
	if e.port.sources--; e.port.sources == 0 {
		delete(w.ports, e.port.key)
	}
}

// round polls the active sources of the ports whose turn it is. It returns the amount of
// work and the time.
func (w *worker) round(now int64) (worked int, after int64) {
	if len(w.active) == 1 {
		e := w.active[0]
		e.port.debt = 0
		n := e.poll(now)
		if n > 0 {
			now = w.clock()
		}
		w.polled(e, n, now)
		return n, now
	}
	w.startRound()
	for _, e := range w.active {
		if !w.mayPoll(e) {
			continue
		}
		e.lap = e.port.lap
		for range max(1, maxPolls/e.port.active) {
			n := e.poll(now)
			worked += n
			was := now
			now = w.clock()
			w.polled(e, n, now)
			if w.charge(e, now-was); e.port.debt >= 0 || n < MaxBatch {
				break
			}
		}
	}
	return worked, now
}

// startRound grants each port with active sources its share of a round, and of all further rounds
// in which no port would be polled.
func (w *worker) startRound() {
	w.rounds++
	least := int64(math.MaxInt64)
	w.floods.ports = 0
	for _, e := range w.active {
		p := e.port
		if p.round != w.rounds {
			p.round, p.waiting, p.active = w.rounds, 0, 0
			debt := p.debt
			if p.flooding {
				w.floods.ports++
				debt = max(debt, w.floods.debt)
			}
			least = min(least, debt-share)
		}
		if p.active++; e.lap != p.lap {
			p.waiting++
		}
	}
	turn := share + max(least, 0)
	w.floods.debt = max(w.floods.debt-turn, -share)
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
		p.debt = max(p.debt, -share) // unused time is not saved up
		if p.waiting == 0 {
			p.lap++
		}
	}
}
