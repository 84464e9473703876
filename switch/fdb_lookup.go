package vswitch

// The FDB's hot path, without locks and without allocation; see the essay in fdb.go.

// touch reads h's home bucket, so that the bucket is in the cache when lookup reads it. Calls for
// different hashes do not depend on one another, so the processor can fetch several buckets at
// once.
func (t *fdb) touch(h hash) uint64 {
	return t.buckets[uint64(h)&t.mask].word[0].Load()
}

// lookup returns the bucket of h's entry, the index of the entry there, and the port of the entry,
// or port 0 if there is no entry. It does not check the entry's age. (Slots are for the control
// plane: to divide one by bucketSlots costs more than the look-up of a stamp.)
func (t *fdb) lookup(h hash) (bucket, i int, id portID) {
	home := uint64(h) & t.mask
	b := &t.buckets[home]
	if i, id := b.find(h.word(0)); id != 0 {
		return int(home), i, id
	}
	over := b.over.Load()
	if over == 0 {
		return 0, 0, 0
	}
	for d := 1; d <= maxDisp; d++ {
		if over>>(4*d)&0xf == 0 {
			continue
		}
		n := (home + uint64(d)) & t.mask
		if i, id := t.buckets[n].find(h.word(d)); id != 0 {
			return int(n), i, id
		}
	}
	return 0, 0, 0
}

// find searches for want, a word without a port, and returns the index and the port of the word
// that was found. It always reads all words: the processor could not predict at which word to stop,
// and a misprediction costs more than reading the rest.
func (b *fdbBucket) find(want uint64) (at int, id portID) {
	for i := range b.word {
		// Equal except for the port, and the port is not 0 (a free slot).
		x := b.word[i].Load() ^ want
		if x-1 < maxPorts-1 {
			at, id = i, portID(x)
		}
	}
	return at, id
}

// live reports whether the i-th entry of bucket b is not too old to be used.
func (t *fdb) live(b, i int, now uint32) bool {
	stamp := t.buckets[b].stamp[i].Load()
	// Signed: a stamp may be a second ahead of a batch that began before.
	return stamp == stampStatic || int32(now-stamp) <= int32(t.ageing.Load())
}

// holder returns the port to which an address is pinned in every VLAN, which may be blackhole, or 0
// if there is no such port.
func (t *fdb) holder(a addr) portID {
	if t.holds.Load() == 0 {
		return 0
	}
	_, _, id := t.lookup(t.perm.hash(a.everywhere()))
	return id
}

// destination returns the port of the station with address a, blackhole if its frames are dropped,
// or 0 if the port is not known. h is the hash of the address and the frames' VLAN.
func (t *fdb) destination(a addr, h hash, now uint32) portID {
	b, i, id := t.lookup(h)
	if id != 0 && t.live(b, i, now) {
		return id
	}
	if t.holds.Load() == 0 {
		return 0
	}
	if _, _, id = t.lookup(t.perm.hash(a.everywhere())); id == 0 {
		_, _, id = t.lookup(t.perm.hash(a.spare()))
	}
	return id
}

// staticAt reports whether address a has a static or pinned entry that names port id, in a VLAN or
// in all. h is the hash of the address and the VLAN.
func (t *fdb) staticAt(a addr, h hash, id portID) bool {
	b, i, owner := t.lookup(h)
	if owner == 0 {
		return t.holder(a) == id
	}
	return owner == id && t.buckets[b].stamp[i].Load() == stampStatic
}

// A sighting is the result of looking up a source address.
type sighting uint8

const (
	seenHere      sighting = iota // known behind this port; the entry's age is now 0
	seenNew                       // not known: learn makes an entry
	seenElsewhere                 // known behind another port: learn may move the entry
	seenStatic                    // static behind another port
)

// seen looks up the source address of a frame from port id, and refreshes its entry. h is the hash
// of k.
func (t *fdb) seen(k fdbKey, h hash, id portID, now uint32) sighting {
	b, i, owner := t.lookup(h)
	if owner == 0 {
		switch t.holder(k.addr()) {
		case 0:
			return seenNew
		case id:
			return seenHere
		}
		return seenStatic
	}
	p := &t.buckets[b].stamp[i]
	stamp := p.Load()
	switch {
	case owner == id:
		if stamp != now && stamp != stampStatic {
			p.CompareAndSwap(stamp, now)
		}
		return seenHere
	case stamp == stampStatic:
		return seenStatic
	default:
		return seenElsewhere
	}
}
