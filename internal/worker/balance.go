package worker

import "time"

// This file moves sources to other workers when load has shifted: a new source goes to
// the worker that has the fewest, which says nothing of how busy these are going to be.
//
// It is slow on purpose. A move costs microseconds of the two workers' time, and cold
// caches; load comes and goes much faster than it pays to follow.

const (
	// balanceEvery is how often load is looked at.
	balanceEvery = time.Second

	// A source is moved off a worker that is busy for at least worthMoving of the
	// time, if the busier of the two workers has at least gain less to do then.
	worthMoving = 0.5
	gain        = 0.1
)

// A load is how much work a source had.
type load struct {
	src  Source
	work uint64 // frames
}

// balancer remembers how much each worker had done when it was last looked at.
type balancer struct {
	at   time.Time
	busy []int64
	work map[Source]uint64 // of the sources of the worker that was busiest then
	hot  *worker           // that one
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

// rebalance moves at most one source, from the busiest worker to the least busy one. A
// worker has to be the busiest one twice in a row; and while all are idle, none is woken.
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
		total := w.busy.Load()
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
	if busy[hot] < worthMoving || hot == cold {
		return
	}
	from, to := p.workers[hot], p.workers[cold]
	b.hot, b.work = from, make(map[Source]uint64)
	loads := from.loads()
	for i, l := range loads {
		b.work[l.src] = l.work
		loads[i].work -= before[l.src] // since the worker was the busiest one before
	}
	if was != from {
		return
	}
	if src := choose(loads, busy[hot], busy[cold]); src != nil {
		p.move(src, from, to)
		b.hot, b.work = nil, nil // not to be judged by what was before
	}
}

// choose returns which source to move from a worker to another that is less busy; nil:
// none. Work is taken to cost the same for all sources.
func choose(loads []load, from, to float64) (src Source) {
	var total uint64
	for _, l := range loads {
		total += l.work
	}
	best := from - gain*(1-1e-9) // so much exactly will do
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

// move moves a source. Between the two workers nobody looks at it, and what comes meanwhile
// waits.
func (p *Pool) move(src Source, from, to *worker) {
	if err := from.do(command{remove: src}); err != nil {
		return
	}
	port := p.ports[src]
	if err := to.do(command{add: src, port: port}); err != nil {
		// For want of memory in the kernel, say. Where it was there is room.
		if from.do(command{add: src, port: port}) != nil {
			delete(p.where, src)
			delete(p.ports, src)
		}
		return
	}
	p.where[src] = to
	to.moved.Add(1)
}

// loads returns how much work each source of the worker has had since it came.
func (w *worker) loads() []load {
	c := command{report: new([]load)}
	if err := w.do(c); err != nil {
		return nil
	}
	return *c.report
}

// report is the worker's side of loads.
func (w *worker) report() (loads []load) {
	for _, e := range w.entries {
		if e != nil {
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
