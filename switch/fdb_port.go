package vswitch

import "sync/atomic"

// fdbPort is the FDB's record of one port: its entries, oldest first, and its limits. Guarded by
// fdb.mu, except for the atomics.
type fdbPort struct {
	id      portID
	name    string       // "" of blackholes
	open    bool         // new entries are accepted
	max     atomic.Int32 // the most dynamic entries; 0: only the table's size limits them
	dynamic fdbList
	static  fdbList
	twins   int // entryTwin on static
	heapAt  int // index in fdb.heap

	counters    *Counters     // the port's
	flapped     fdbKey        // the last entry that has flapped to this port ...
	flappedFrom portID        // ... and the port from which it moved
	held        fdbKey        // the last entry that has not moved to this port (FDBHeld)
	claimed     atomic.Uint64 // the fdbKey of the last FDBStaticClaims
	limited     atomic.Uint64 // the fdbKey of the last FDBLimited
	reported    FDBEvents     // counts that Conflicts has returned

	// dynamicCount is dynamic.n, for readers without the lock.
	dynamicCount atomic.Int32

	// evictions counts the evictions made for this port in second evictSecond. When the number
	// reaches the limit, throttled is set to that second.
	evictSecond uint32
	evictions   int
	throttled   atomic.Uint32
}

// mayLearn reports, without the lock, whether new addresses may be learned from p. It does not
// apply to moves.
func (p *fdbPort) mayLearn(now uint32) bool {
	return p.throttled.Load() != now && !p.atLimit()
}

func (p *fdbPort) atLimit() bool {
	m := p.max.Load()
	return m != 0 && p.dynamicCount.Load() >= m
}

// mayEvict takes one eviction from p's budget for this second, and reports whether the budget had
// any left.
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

// entryKind is the origin of an entry, which decides who may change the entry.
type entryKind uint8

const (
	entryDynamic entryKind = iota // learned
	entryStatic                   // added by AddFDB or Change.Static; also a blackhole
	entrySticky                   // likewise; ages, but does not move
	entryPinned                   // from PortConfig.MACs, or the host's own (SetLocal)
	entrySpare                    // of another device of the host (SetLocal)
	entryTwin                     // besides a pinned one for every VLAN; see fdb.go
)

// isManual reports whether entries of kind k are an operator's, who can move and remove them.
func (k entryKind) isManual() bool { return k == entryStatic || k == entrySticky }

// public returns the kind that a port's entries of kind k have for users.
func (k entryKind) public() FDBKind {
	switch k {
	case entryDynamic:
		return FDBDynamic
	case entrySticky:
		return FDBSticky
	}
	return FDBStatic
}

// fdbCold is the part of a slot that only writers use.
type fdbCold struct {
	key        fdbKey
	prev, next slot
	listed     uint32 // second in which the entry was put at the end of its list
	moved      uint32 // second of the last move from one port to another; 0: there was none
	since      uint32 // second of the first of moves
	moves      uint8  // moves within moveWindow, see noteMove
	kind       entryKind
	byHand     bool // added by AddFDB: a Change without the entry keeps it
}

// fdbList is a list of slots, oldest first, linked through fdbCold. The zero value is invalid; see
// makeList.
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

// list returns p's list of entries of kind k.
func (p *fdbPort) list(k entryKind) *fdbList {
	if k == entryDynamic {
		return &p.dynamic
	}
	return &p.static
}

// fdbHeap holds all ports, the port with the most dynamic entries first. The numbers change by one
// at a time, so that a step or two usually restore the order.
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

// fix restores the order after the number of p's entries has changed.
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
