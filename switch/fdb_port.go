package vswitch

import "sync/atomic"

// fdbPort is the FDB's record of one port: its entries, oldest first, and its
// limits. Guarded by fdb.mu but for the atomics.
type fdbPort struct {
	id      portID
	open    bool         // new entries are accepted
	max     atomic.Int32 // most dynamic entries; 0: no limit but the table's
	dynamic fdbList
	static  fdbList
	twins   int // entryTwin on static
	heapAt  int // index in fdb.heap

	counters    *Counters     // the port's
	flapped     fdbKey        // the entry that has flapped to this port last ...
	flappedFrom portID        // ... and where it came from
	claimed     atomic.Uint64 // the last fdbKey that was claimed, of FDBStaticClaims
	reported    [2]uint64     // counts that Conflicts has returned, by ConflictKind

	// dynamicCount is dynamic.n, for readers without the lock.
	dynamicCount atomic.Int32

	// evictions counts those made for this port in second evictSecond. When
	// they reach the limit, throttled is set to that second.
	evictSecond uint32
	evictions   int
	throttled   atomic.Uint32
}

// mayLearn reports, without the lock, whether trying to learn new addresses
// from p has a chance. Moves are not asked about here.
func (p *fdbPort) mayLearn(now uint32) bool {
	return p.throttled.Load() != now && !p.atLimit()
}

func (p *fdbPort) atLimit() bool {
	m := p.max.Load()
	return m != 0 && p.dynamicCount.Load() >= m
}

// mayEvict takes one eviction from p's budget for this second, if there is one
// left.
func (p *fdbPort) mayEvict(now uint32) bool {
	if p.evictSecond != now {
		p.evictSecond, p.evictions = now, 0
	}
	if p.evictions >= evictionsPerSecond {
		p.throttled.Store(now)
		return false
	}
	p.evictions++
	return true
}

// entryKind says who made an entry, and with that who may change it.
type entryKind uint8

const (
	entryDynamic entryKind = iota // learned
	entryStatic                   // added by AddStatic
	entryPinned                   // from PortConfig.MACs, or local
	entrySpare                    // local, and not pinned
	entryTwin                     // of a pinned one for every VLAN, in the VLAN of untagged frames
)

// fdbCold is the part of a slot that readers do not need.
type fdbCold struct {
	key        fdbKey
	prev, next slot
	listed     uint32 // second in which it was put at the young end of its list
	moved      uint32 // second in which it went from one port to another last; 0: it has not
	kind       entryKind
}

// fdbList is a list of slots through fdbCold, oldest first. The zero value is
// not empty but invalid: see makeList.
type fdbList struct {
	first, last slot
	n           int
}

func makeList() fdbList { return fdbList{first: noSlot, last: noSlot} }

func (t *fdb) push(l *fdbList, s slot) {
	c := &t.cold[s]
	c.prev, c.next = l.last, noSlot
	c.listed = t.now()
	if l.last == noSlot {
		l.first = s
	} else {
		t.cold[l.last].next = s
	}
	l.last = s
	l.n++
}

func (t *fdb) unlink(l *fdbList, s slot) {
	c := &t.cold[s]
	if c.prev == noSlot {
		l.first = c.next
	} else {
		t.cold[c.prev].next = c.next
	}
	if c.next == noSlot {
		l.last = c.prev
	} else {
		t.cold[c.next].prev = c.prev
	}
	l.n--
}

// list returns the list on which an entry of kind k of port p is.
func (p *fdbPort) list(k entryKind) *fdbList {
	if k == entryDynamic {
		return &p.dynamic
	}
	return &p.static
}

// fdbHeap holds all ports, the one with the most dynamic entries first.
// Numbers change by one at a time, so that one step or two usually put it
// in order.
type fdbHeap []*fdbPort

func (h *fdbHeap) add(p *fdbPort) {
	p.heapAt = len(*h)
	*h = append(*h, p)
	h.up(p.heapAt)
}

func (h *fdbHeap) remove(p *fdbPort) {
	i, last := p.heapAt, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.fix((*h)[i])
	}
}

// fix puts p where it belongs after its number has changed.
func (h *fdbHeap) fix(p *fdbPort) {
	h.up(p.heapAt)
	h.down(p.heapAt)
}

func (h fdbHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

func (h fdbHeap) more(i, j int) bool { return h[i].dynamic.n > h[j].dynamic.n }

func (h fdbHeap) up(i int) {
	for i > 0 && h.more(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h fdbHeap) down(i int) {
	for {
		c := 2*i + 1
		if c+1 < len(h) && h.more(c+1, c) {
			c++
		}
		if c >= len(h) || !h.more(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}
