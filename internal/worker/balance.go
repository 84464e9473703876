package worker

import "time"

// This file moves sources to other workers when load has shifted: a new source is assigned to the
// worker that has the fewest sources, which does not predict how busy these are going to be.
//
// Balancing is slow on purpose. A move costs microseconds of the two workers' time, and cold
// caches, so it does not pay to follow every change of load.

const (
	// balanceEvery is the interval between measurements of load.
	balanceEvery = time.Second

	// A source is moved off a worker that is busy for at least minBusy of the time, if the move
	// reduces the load of the busier of the two workers by at least minGain.
	minBusy = 0.5
	minGain = 0.1
)

// A load is the amount of work of a source.
type load struct {
	src  Source
	work uint64 // frames
}

// balancer is the state of the last measurement.
type balancer struct {
	at   time.Time
	busy []int64           // busy time of each worker
	work map[Source]uint64 // of the sources of the worker that was busiest then
	hot  *worker           // that worker
}

// balance runs until the pool is closed.
func (p *Pool) balance() {
	t := time.NewTicker(balanceEvery)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			p.rebalance(now)
		case <-p.quit:
			return
		}
	}
}

// rebalance moves at most one source, from the busiest worker to the least busy one. A worker has
// to be the busiest one twice in a row; and while all are idle, none is woken.
func (p *Pool) rebalance(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &p.balancer
	if p.closed {
		return
	}
	interval := now.Sub(b.at)
	busy := make([]float64, len(p.workers))
	hot, cold := 0, 0
	for i, w := range p.workers {
		total := w.published.busy.Load()
		busy[i] = float64(total-b.busy[i]) / float64(interval)
		b.busy[i] = total
		if busy[i] > busy[hot] {
			hot = i
		}
		if busy[i] < busy[cold] {
			cold = i
		}
	}
	b.at = now
	was, before := b.hot, b.work
	b.hot, b.work = nil, nil
	if busy[hot] < minBusy || hot == cold {
		return
	}
	from, to := p.workers[hot], p.workers[cold]
	b.hot, b.work = from, make(map[Source]uint64)
	loads := from.loads()
	for i, l := range loads {
		b.work[l.src] = l.work
		loads[i].work -= before[l.src] // work since the previous measurement
	}
	if was != from {
		return
	}
	if src := choose(loads, busy[hot], busy[cold]); src != nil {
		p.move(src, from, to)
		b.hot, b.work = nil, nil // earlier measurements do not apply any more
	}
}

// choose returns the source to move from a worker to another that is less busy; nil: none. Work is
// assumed to cost the same for all sources.
func choose(loads []load, from, to float64) (src Source) {
	var total uint64
	for _, l := range loads {
		total += l.work
	}
	best := from - minGain*(1-1e-9) // a gain of exactly minGain suffices
	for _, l := range loads {
		if l.work == 0 {
			continue
		}
		part := from * float64(l.work) / float64(total)
		if most := max(from-part, to+part); most < best {
			best, src = most, l.src
		}
	}
	return src
}

// move moves a source. Between the two workers no worker serves the source, and its work waits.
func (p *Pool) move(src Source, from, to *worker) {
	if err := from.call(command{remove: src}); err != nil {
		return
	}
	port := p.ports[src]
	if err := to.call(command{add: src, port: port}); err != nil {
		// The kernel is out of memory, say. The worker that had the source has room for it.
		if from.call(command{add: src, port: port}) != nil {
			delete(p.where, src)
			delete(p.ports, src)
		}
		return
	}
	p.where[src] = to
	to.moved.Add(1)
}

// loads returns the amount of work of each of the worker's sources since they were added.
func (w *worker) loads() []load {
	c := command{report: new([]load)}
	if err := w.call(c); err != nil {
		return nil
	}
	return *c.report
}

// report is loads on the worker's thread.
func (w *worker) report() (loads []load) {
	for _, e := range w.entries {
		if e != nil && !e.resident {
			loads = append(loads, load{e.src, e.work})
		}
	}
	for _, e := range w.active {
		if e.id < 0 {
			loads = append(loads, load{e.src, e.work})
		}
	}
	return loads
}
