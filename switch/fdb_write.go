package vswitch

// All changes of the FDB's entries. All functions here need mu.

// openPort adds the record of port id, which may have at most limit dynamic entries (0: any
// number). Events are counted in c.
func (t *fdb) openPort(id portID, limit int, c *Counters) *fdbPort {
	p := &fdbPort{id: id, dynamic: makeList(), static: makeList(), counters: c}
	p.reported = c.FDB()
	p.max.Store(int32(limit))
	t.ports[id] = p
	t.heap.add(p)
	return p
}

// closePort removes p and all its entries.
func (t *fdb) closePort(p *fdbPort) {
	p.open = false
	t.noteFlush(p, p.dynamic.n+p.static.n-p.twins, FlushDetached)
	for _, l := range []*fdbList{&p.dynamic, &p.static} {
		for l.first != noSlot {
			t.remove(l.first)
		}
	}
	t.heap.remove(p)
	t.ports[p.id] = nil
}

// count counts an event at p.
func (t *fdb) count(p *fdbPort, e FDBEvent) {
	p.counters.fdb[e].Add(1)
	t.stats[e].Add(1)
}

// learn adds or moves the entry for the source address of frames from port p. If that is refused,
// refused is true, and the caller counts why for each of the frames.
func (t *fdb) learn(k fdbKey, h hash, p *fdbPort, now uint32) (why FDBEvent, refused bool) {
	if !p.open {
		return 0, false
	}
	b, i, owner := t.lookup(h)
	s := slotAt(b, i)
	if owner != 0 && t.cold[s].kind == entrySticky && !t.live(b, i, now) {
		t.note(RecordExpired, s)
		t.remove(s) // the sweep has not come to it yet
		owner = 0
	}
	if owner != 0 {
		return t.relearn(s, owner, p, now)
	}
	if holder := t.holder(k.addr()); holder != 0 { // since the look-up by seen
		return FDBStaticClaims, holder != p.id
	}
	if p.atLimit() {
		p.limited.Store(uint64(k))
		return FDBLimited, true
	}
	if t.full() && !t.makeRoom(p, now) {
		return 0, false
	}
	if s, ok := t.insert(k, h, p, entryDynamic, now); ok {
		t.count(p, FDBLearned)
		t.note(RecordLearned, s)
	}
	return 0, false
}

// relearn is learn for a source address that has an entry, in s, of port owner.
func (t *fdb) relearn(s slot, owner portID, p *fdbPort, now uint32) (why FDBEvent, refused bool) {
	b, i := s.split()
	stamp := &t.buckets[b].stamp[i]
	switch {
	case owner == p.id:
		// Learned meanwhile from another queue of the same port, or from an earlier frame of this
		// batch.
		if stamp.Load() != stampStatic {
			stamp.Store(now)
		}
	case t.cold[s].kind != entryDynamic:
		p.claimed.Store(uint64(t.cold[s].key))
		return FDBStaticClaims, true
	case p.atLimit():
		p.limited.Store(uint64(t.cold[s].key))
		return FDBLimited, true
	case t.isHeld(s, now):
		p.held = t.cold[s].key
		return FDBHeld, true
	default:
		t.move(s, t.ports[owner], p, now)
		t.noteMove(s, owner, p, now)
		t.noteFrom(RecordMoved, s, t.ports[owner].name)
	}
	return 0, false
}

// isHeld reports whether the dynamic entry in s has moved so often that it stays where it is
// (FDBConfig.HoldDown).
func (t *fdb) isHeld(s slot, now uint32) bool {
	c, hold := &t.cold[s], t.hold.Load()
	if hold == 0 || c.moves < moveLimit {
		return false
	}
	if now-c.moved < hold {
		return true
	}
	c.moves = 0
	return false
}

// noteMove counts the move of the entry in s to p, also as a flap if the entry has moved shortly
// before.
func (t *fdb) noteMove(s slot, from portID, p *fdbPort, now uint32) {
	t.count(p, FDBMoved)
	c := &t.cold[s]
	if c.moved != 0 && now-c.moved <= flapWindow {
		t.count(p, FDBFlapped)
		p.flapped, p.flappedFrom = c.key, from
	}
	c.moved = now
	if c.moves == 0 || now-c.since > moveWindow {
		c.moves, c.since = 0, now
	}
	c.moves = min(c.moves+1, moveLimit)
}

// full reports whether the table has as many entries as are allowed.
func (t *fdb) full() bool { return t.used-t.twins >= t.size }

// move moves the dynamic entry in s from port p to port q.
func (t *fdb) move(s slot, p, q *fdbPort, now uint32) {
	b, i := s.split()
	w := &t.buckets[b].word[i]
	w.Store(w.Load()&^(maxPorts-1) | uint64(q.id))
	t.buckets[b].stamp[i].Store(now)
	t.unlink(&p.dynamic, s)
	t.push(&q.dynamic, s)
	t.counted(p)
	t.counted(q)
	t.changed()
}

// counted updates what depends on the number of p's dynamic entries, after the number has changed.
func (t *fdb) counted(p *fdbPort) {
	p.dynamicCount.Store(int32(p.dynamic.n))
	t.heap.fix(p)
}

// makeRoom removes one dynamic entry from the full table, so that one can be added for p.
func (t *fdb) makeRoom(p *fdbPort, now uint32) bool {
	victim := t.heap[0]
	if p.dynamic.n >= victim.dynamic.n {
		victim = p
	}
	if victim.dynamic.n == 0 { // there are only static entries
		t.count(p, FDBFull)
		return false
	}
	if !p.mayEvict(now) {
		t.count(p, FDBLimited)
		return false
	}
	t.evict(t.oldest(victim))
	return true
}

// evict removes the entry in s to make room.
func (t *fdb) evict(s slot) {
	t.count(t.owner(s), FDBEvicted)
	t.note(RecordEvicted, s)
	t.remove(s)
}

// oldest returns one of the least recently used dynamic entries of p.
//
// The list is in the order of learning: using an entry does not move the entry, since that would
// need the lock. So an entry that was used since it was put into the list gets a second chance, at
// the end of the list; a few entries only, to bound the cost.
func (t *fdb) oldest(p *fdbPort) slot {
	const chances = 8
	for range chances {
		s := p.dynamic.first
		b, i := s.split()
		if t.buckets[b].stamp[i].Load() <= t.cold[s].listed {
			return s
		}
		t.unlink(&p.dynamic, s)
		t.push(&p.dynamic, s)
	}
	return p.dynamic.first
}

// insert adds an entry that does not exist. It reports false if there is no free slot near the
// entry's home and none can be freed.
func (t *fdb) insert(k fdbKey, h hash, p *fdbPort, kind entryKind, stamp uint32) (slot, bool) {
	s, disp, ok := t.freeSlot(h)
	if !ok {
		victim, found := t.neighbour(h, p)
		if !found {
			t.count(p, FDBFull)
			return noSlot, false
		}
		t.evict(victim)
		s, disp, _ = t.freeSlot(h)
	}
	if disp > 0 {
		t.buckets[uint64(h)&t.mask].over.Add(1 << (4 * disp))
	}
	c := &t.cold[s]
	c.key, c.kind, c.moved, c.moves, c.byHand = k, kind, 0, 0, false
	l := p.list(kind)
	t.push(l, s)
	if kind == entryDynamic {
		t.counted(p)
	} else {
		t.fixed++
	}
	if kind == entryTwin {
		t.twins++
		p.twins++
	}
	t.used++
	b, i := s.split()
	t.buckets[b].stamp[i].Store(stamp)
	t.buckets[b].word[i].Store(h.word(disp) | uint64(p.id))
	if k.isEverywhere() {
		t.holds.Add(1)
	}
	t.changed()
	return s, true
}

// freeSlot finds the free slot nearest to h's home.
func (t *fdb) freeSlot(h hash) (s slot, disp int, ok bool) {
	for d := 0; d <= maxDisp; d++ {
		n := (uint64(h) + uint64(d)) & t.mask
		for i := range bucketSlots {
			if t.buckets[n].word[i].Load() == 0 {
				return slotAt(int(n), i), d, true
			}
		}
	}
	return noSlot, 0, false
}

// neighbour chooses the entry to evict for a new entry of port p: among the entries near the new
// entry's home, a dynamic one of the port with the most dynamic entries, or of p if no port has
// more than p.
func (t *fdb) neighbour(h hash, p *fdbPort) (best slot, ok bool) {
	most := -1
	for d := 0; d <= maxDisp; d++ {
		n := (uint64(h) + uint64(d)) & t.mask
		for i := range bucketSlots {
			s := slotAt(int(n), i)
			q := t.owner(s)
			if t.cold[s].kind != entryDynamic || q != p && q.dynamic.n <= p.dynamic.n {
				continue
			}
			if q.dynamic.n > most {
				best, most = s, q.dynamic.n
			}
		}
	}
	return best, most >= 0
}

// owner returns the port of the entry in s.
func (t *fdb) owner(s slot) *fdbPort {
	b, i := s.split()
	return t.ports[t.buckets[b].word[i].Load()&(maxPorts-1)]
}

// remove removes the entry in s.
func (t *fdb) remove(s slot) {
	p := t.owner(s)
	b, i := s.split()
	w := t.buckets[b].word[i].Swap(0)
	if disp := w >> dispShift & maxDisp; disp > 0 {
		home := (uint64(b) - disp) & t.mask
		t.buckets[home].over.Add(-(uint32(1) << (4 * disp)))
	}
	kind := t.cold[s].kind
	t.unlink(p.list(kind), s)
	if kind == entryDynamic {
		t.counted(p)
	} else {
		t.fixed--
	}
	if kind == entryTwin {
		t.twins--
		p.twins--
	}
	if t.cold[s].key.isEverywhere() {
		t.holds.Add(-1)
	}
	t.used--
	t.changed()
}

// stampOf returns the time stamp of a new entry of a kind.
func (t *fdb) stampOf(kind entryKind) uint32 {
	if kind == entryDynamic || kind == entrySticky {
		return t.now()
	}
	return stampStatic
}

// setEntry adds an entry that no frame has caused. It replaces any entry with the same key; the
// caller has checked that a static one may be replaced.
func (t *fdb) setEntry(k fdbKey, p *fdbPort, kind entryKind) error {
	h := t.perm.hash(k)
	if b, i, id := t.lookup(h); id != 0 {
		t.remove(slotAt(b, i))
	}
	if kind != entryTwin && t.full() {
		// Configured entries take precedence over learned ones.
		victim := t.heap[0]
		if victim.dynamic.n == 0 {
			return ErrTableFull
		}
		t.evict(t.oldest(victim))
	}
	s, ok := t.insert(k, h, p, kind, t.stampOf(kind))
	if !ok {
		return ErrTableFull
	}
	t.note(RecordAdded, s)
	return nil
}

// get returns the slot, kind and port of an entry.
func (t *fdb) get(k fdbKey) (s slot, kind entryKind, p *fdbPort) {
	b, i, id := t.lookup(t.perm.hash(k))
	if id == 0 {
		return noSlot, 0, nil
	}
	s = slotAt(b, i)
	return s, t.cold[s].kind, t.ports[id]
}
