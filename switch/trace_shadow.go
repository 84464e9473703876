package vswitch

import (
	"maps"
	"slices"
)

// The shadow of a switch: a Switch whose tables, buckets and counters are copies, and whose ports
// note what they are sent. A frame that is delivered to it goes through the very pipeline that
// forwards, and leaves the switch itself as it is. So a stage that changes something has nothing to
// do for traces, as long as what it changes is copied here.

// maxShadowFDB is the largest FDB that a shadow copies, in buckets. A trace in a larger one looks
// up destinations, but does not find out what the frame's source address would change.
const maxShadowFDB = 1 << 16

// A shadow is a copy of a switch at one moment.
type shadow struct {
	sw     *Switch // has only what the pipeline needs
	in     *Inlet  // of the port that the frame comes from
	src    *portView
	learns bool // the FDB is a copy
	trace  *tracer
}

// shadowOf makes the shadow in which a frame comes from a port.
func (s *Switch) shadowOf(port string, t *tracer) (*shadow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.port(port)
	if err != nil {
		return nil, err
	}
	set := s.set.Load()
	now := s.nanotime()
	c := &Switch{
		mdb:      &mdb{late: make(chan lateMessage, 1), wake: make(chan struct{}, 1), now: s.fdb.now, address: s.mdb.address},
		nanotime: func() int64 { return now },
	}
	sh := &shadow{sw: c, trace: t}
	c.fdb, sh.learns = s.fdb.shadow()
	views := t.views(set, c.fdb, sh.learns)
	copied := &portSet{byID: make([]*portView, len(set.byID)), mcast: set.mcast, neigh: set.neigh, observed: true}
	for _, v := range set.all {
		copied.all = append(copied.all, views[v])
		copied.byID[v.id] = views[v]
	}
	copied.mirrors = set.mirrors.shadow(views)
	copied.neigh.table = set.neigh.table.shadow()
	c.set.Store(copied)
	sh.src = views[set.get(a.id)]
	sh.in = &Inlet{sw: c, att: a, counters: new(Counters)}
	return sh, nil
}

// views returns a copy of each port of a set: its Transmit and its taps tell the tracer, and what
// its frames change is copied.
func (t *tracer) views(set *portSet, table *fdb, learns bool) map[*portView]*portView {
	views := make(map[*portView]*portView, len(set.all))
	for _, was := range set.all {
		v := *was
		v.counters = new(Counters)
		v.port = &tracePort{t: t, name: v.cfg.Name, caps: was.port.Caps()}
		v.taps = &tapping{out: []Tap{t}, dropsIn: []Tap{t}, dropsOut: []Tap{t}}
		v.observed = true
		if learns {
			v.fdb = table.ports[v.id]
			v.counters = v.fdb.counters
		} else {
			v.cfg.Learning = false
		}
		v.policing, v.storm, v.egress = was.policing.shadow(), was.storm.shadow(), was.egress.shadow()
		v.ingressFilter, v.egressFilter = was.ingressFilter.shadow(), was.egressFilter.shadow()
		views[was] = &v
	}
	return views
}

func (k *bucket) shadow() *bucket {
	if k == nil {
		return nil
	}
	c := &bucket{rate: k.rate, burst: k.burst, depth: k.depth}
	c.full.Store(k.full.Load())
	return c
}

func (p *policing) shadow() *policing {
	if p == nil {
		return nil
	}
	return &policing{bits: p.bits.shadow(), frames: p.frames.shadow()}
}

func (s *stormControl) shadow() *stormControl {
	if s == nil {
		return nil
	}
	return &stormControl{bcast: s.bcast.shadow(), mcast: s.mcast.shadow(), unknown: s.unknown.shadow(), all: s.all.shadow()}
}

// shadow returns a copy of a filter, with counters of which none has counted anything.
func (f *filter) shadow() *filter {
	if f == nil {
		return nil
	}
	c := *f
	c.rules = slices.Clone(f.rules)
	for i := range c.rules {
		c.rules[i].counters = new(RuleCounters)
	}
	return &c
}

func (set mirrorSet) shadow(views map[*portView]*portView) mirrorSet {
	c := slices.Clone(set)
	for i := range c {
		c[i].counters, c[i].filter = new(MirrorCounters), set[i].filter.shadow()
		c[i].to = nil
		for _, v := range set[i].to {
			c[i].to = append(c[i].to, views[v])
		}
	}
	return c
}

// shadow returns a copy of the FDB, or the FDB itself if it is too large to be copied: then nothing
// may be learned.
func (t *fdb) shadow() (c *fdb, copied bool) {
	if len(t.buckets) > maxShadowFDB {
		return t, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c = &fdb{
		buckets: make([]fdbBucket, len(t.buckets)), mask: t.mask, perm: t.perm, size: t.size,
		cold: slices.Clone(t.cold), used: t.used, fixed: t.fixed, twins: t.twins,
	}
	c.clock.Store(t.clock.Load())
	c.ageing.Store(t.ageing.Load())
	c.hold.Store(t.hold.Load())
	c.holds.Store(t.holds.Load())
	for i := range t.buckets {
		from, to := &t.buckets[i], &c.buckets[i]
		for j := range from.word {
			if w := from.word[j].Load(); w != 0 {
				to.word[j].Store(w)
				to.stamp[j].Store(from.stamp[j].Load())
			}
		}
		if over := from.over.Load(); over != 0 {
			to.over.Store(over)
		}
	}
	for id, p := range t.ports {
		if p != nil {
			c.ports[id] = p.shadow()
		}
	}
	for _, p := range t.heap {
		c.heap = append(c.heap, c.ports[p.id])
	}
	return c, true
}

func (p *fdbPort) shadow() *fdbPort {
	c := &fdbPort{
		id: p.id, open: p.open, dynamic: p.dynamic, static: p.static, twins: p.twins, heapAt: p.heapAt,
		counters: new(Counters), evictSecond: p.evictSecond, evictions: p.evictions,
	}
	c.max.Store(p.max.Load())
	c.dynamicCount.Store(p.dynamicCount.Load())
	c.throttled.Store(p.throttled.Load())
	return c
}

// shadow returns a copy of the table, which may be nil.
func (t *neighTable) shadow() *neighTable {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &neighTable{seed: t.seed, total: t.total, count: maps.Clone(t.count)}
	for i := range t.buckets {
		was := t.buckets[i].Load()
		if was == nil {
			continue
		}
		list := make([]*neighbor, len(*was))
		for j, n := range *was {
			list[j] = &neighbor{key: n.key, mac: n.mac, port: n.port, guarded: n.guarded, router: n.router, changed: n.changed}
			list[j].stamp.Store(n.stamp.Load())
		}
		c.buckets[i].Store(&list)
	}
	return c
}
