package vswitch

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func TestBucketIsOneCacheLine(t *testing.T) {
	if n := reflect.TypeFor[fdbBucket]().Size(); n != 64 {
		t.Errorf("a bucket has %d bytes, want 64", n)
	}
	if a := reflect.ValueOf(newFDB(1, FDBConfig{AgingTime: 1 * time.Second}).buckets).Pointer() % 64; a != 0 {
		t.Errorf("buckets begin %d bytes behind a cache line's start", a)
	}
}

func TestTableIsAtMostFortyPercentFull(t *testing.T) {
	for _, n := range []int{1, 2, 100, 8191, 8192, 8193, 1_000_000, 1 << 20} {
		b := len(newFDB(n, FDBConfig{AgingTime: 1 * time.Second}).buckets)
		if b*2 < n || b&(b-1) != 0 || b > minBuckets && b >= 2*n {
			t.Errorf("%d buckets for %d entries", b, n)
		}
	}
}

// identity is a permutation that does not change keys, so that tests can choose buckets.
var identity = permutation{mul1: 1, mul2: 1}

func TestPermutationsAreOneToOne(t *testing.T) {
	// There are too many keys (2^60) to try all of them. But the permutation is a chain of
	// invertible steps; this is its inverse.
	inverse := func(p permutation, h hash) fdbKey {
		x := uint64(h)
		unshift := func() { x ^= x >> 30 }
		unshift()
		x = x * modInverse(p.mul2) & keyMask
		unshift()
		x = x * modInverse(p.mul1) & keyMask
		return fdbKey(x ^ p.xor)
	}
	for range 1000 {
		p, k := randomPermutation(), fdbKey(rand.Uint64()&keyMask)
		h := p.hash(k)
		if h > keyMask || inverse(p, h) != k {
			t.Fatalf("%+v: %#x became %#x, and that %#x", p, k, h, inverse(p, h))
		}
	}
	if h := identity.hash(12345); h != 12345 {
		t.Errorf("identity of 12345 is %d", h)
	}
}

// modInverse inverts an odd number modulo 2^64, by Newton's method.
func modInverse(a uint64) uint64 {
	x := a
	for range 6 {
		x *= 2 - a*x
	}
	return x
}

// check verifies the invariants of an FDB that is not being changed.
func (t *fdb) check(tb testing.TB) {
	tb.Helper()
	over := make([]uint32, len(t.buckets))
	count := make(map[*fdbPort]int)
	used := 0
	for b := range t.buckets {
		for i := range bucketSlots {
			w := t.buckets[b].word[i].Load()
			if w == 0 {
				continue
			}
			used++
			s := slotAt(b, i)
			c := &t.cold[s]
			h := t.perm.hash(c.key)
			if inBucket, at, id := t.lookup(h); inBucket != b || at != i || id == 0 || t.ports[id] == nil {
				tb.Fatalf("entry %#x in slot %d of bucket %d is found in slot %d of bucket %d, port %d", c.key, i, b, at, inBucket, id)
			}
			if disp := (uint64(b) - uint64(h)) & t.mask; disp > 0 {
				over[uint64(h)&t.mask] += 1 << (4 * disp)
			}
			static := t.buckets[b].stamp[i].Load() == stampStatic
			if static != (c.kind != entryDynamic && c.kind != entrySticky) {
				tb.Fatalf("entry %#x: static stamp %v, kind %d", c.key, static, c.kind)
			}
			count[t.owner(s)]++
		}
	}
	for b := range t.buckets {
		if t.buckets[b].over.Load() != over[b] {
			tb.Fatalf("bucket %d counts overflows %#x, has %#x", b, t.buckets[b].over.Load(), over[b])
		}
	}
	fixed := 0
	for i, p := range t.heap {
		if p.heapAt != i || i > 0 && t.heap.more(i, (i-1)/2) {
			tb.Fatalf("the heap is out of order at %d", i)
		}
		if t.ports[p.id] != p || int(p.dynamicCount.Load()) != p.dynamic.n {
			tb.Fatalf("port %d: count %d, %d entries", p.id, p.dynamicCount.Load(), p.dynamic.n)
		}
		if n := t.listed(tb, &p.dynamic) + t.listed(tb, &p.static); n != count[p] {
			tb.Fatalf("port %d has %d entries, %d on its lists", p.id, count[p], n)
		}
		fixed += p.static.n
	}
	if t.used != used || t.fixed != fixed || used-t.twins > t.size {
		tb.Fatalf("%d used, %d static; found %d and %d; size %d", t.used, t.fixed, used, fixed, t.size)
	}
}

// listed walks a list both ways and returns its length.
func (t *fdb) listed(tb testing.TB, l *fdbList) int {
	tb.Helper()
	n, prev := 0, noSlot
	for s := l.first; s != noSlot; s = t.cold[s].next {
		if t.cold[s].prev != prev {
			tb.Fatalf("slot %d: previous is %d, want %d", s, t.cold[s].prev, prev)
		}
		prev = s
		n++
	}
	if prev != l.last || n != l.n {
		tb.Fatalf("list ends in %d after %d, want %d after %d", prev, n, l.last, l.n)
	}
	return n
}

// learnKey learns an address as Deliver does.
func (t *fdb) learnKey(k fdbKey, p *fdbPort) {
	h := t.perm.hash(k)
	if t.seen(k, h, p.id, t.now()) != seenHere {
		t.learn(k, h, p, t.now())
	}
}

func (t *fdb) openAll(ids ...portID) (ps []*fdbPort) {
	for _, id := range ids {
		p := t.openPort(id, 0, new(Counters))
		p.open = true
		ps = append(ps, p)
	}
	return ps
}

// TestRandomOperations compares random operations with the same operations on a map. There are few
// keys, and they collide: the permutation is the identity, and all homes lie close together.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		tab := newFDB(1000, FDBConfig{AgingTime: 10 * time.Second})
		if seed%2 == 0 {
			tab.perm = identity
		}
		ps := tab.openAll(1, 2, 3)
		type entry struct {
			port   portID
			static bool
		}
		model := make(map[fdbKey]entry)
		key := func() fdbKey {
			// Of 30 buckets around the table's end, every second one is the home of 9 keys: they
			// overflow the bucket's 5 slots, but there is a free slot nearby for each.
			home := len(tab.buckets) - 15 + 2*r.IntN(15)
			return fdbKey(home&(len(tab.buckets)-1) | r.IntN(9)<<30)
		}
		for range 3000 {
			k, p := key(), ps[r.IntN(len(ps))]
			switch e, known := model[k]; r.IntN(6) {
			case 0, 1, 2:
				tab.learnKey(k, p)
				if !known || !e.static {
					model[k] = entry{p.id, false}
				}
			case 3:
				if err := tab.setEntry(k, p, entryStatic); err != nil {
					t.Fatal(err)
				}
				model[k] = entry{p.id, true}
			case 4:
				if s, _, owner := tab.get(k); owner != nil {
					tab.remove(s)
				}
				delete(model, k)
			case 5:
				if r.IntN(50) == 0 {
					tab.flush(p, FlushByHand, AnyVLAN, entryDynamic)
					for k, e := range model {
						if e.port == p.id && !e.static {
							delete(model, k)
						}
					}
				}
			}
			want := model[k]
			if got := tab.destination(k.addr(), tab.perm.hash(k), tab.now()); got != want.port {
				t.Fatalf("seed %d: key %#x is at port %d, want %d", seed, k, got, want.port)
			}
		}
		tab.check(t)
		if tab.used != len(model) {
			t.Fatalf("seed %d: %d entries, want %d", seed, tab.used, len(model))
		}
		for k, want := range model {
			if _, kind, p := tab.get(k); p == nil || p.id != want.port || (kind == entryStatic) != want.static {
				t.Fatalf("seed %d: key %#x is not as in the model, %+v", seed, k, want)
			}
		}
		if tab.stats[FDBEvicted].Load() != 0 {
			t.Fatalf("seed %d: there were evictions, which the map does not model", seed)
		}
		for _, p := range ps {
			tab.closePort(p)
		}
		tab.check(t)
		if tab.used != 0 {
			t.Fatalf("seed %d: %d entries without a port", seed, tab.used)
		}
	}
}

// colliding returns n keys that, under the identity, all have home 7.
func colliding(n int) (ks []fdbKey) {
	for i := range n {
		ks = append(ks, fdbKey(7|(i+1)<<20))
	}
	return ks
}

func TestFullNeighbourhood(t *testing.T) {
	const room = (maxDisp + 1) * bucketSlots
	tab := newFDB(1000, FDBConfig{AgingTime: 10 * time.Second})
	tab.perm = identity
	ps := tab.openAll(1, 2)
	ks := colliding(room + 3)
	tab.learnKey(ks[0], ps[1])
	for _, k := range ks[1:] {
		tab.learnKey(k, ps[0])
		tab.check(t)
	}
	if tab.used != room || tab.stats[FDBEvicted].Load() != 3 {
		t.Errorf("%d entries, %d evicted; want %d and 3", tab.used, tab.stats[FDBEvicted].Load(), room)
	}
	if _, _, p := tab.get(ks[0]); p != ps[1] {
		t.Error("the entry of the other port, which has fewer, was evicted")
	}

	// A port that has more entries in other buckets may evict nothing here.
	rich := tab.openAll(3)[0]
	for k := range fdbKey(2 * room) {
		tab.learnKey(1000+k, rich)
	}
	tab.learnKey(colliding(100)[99], rich)
	tab.check(t)
	if n := ps[0].dynamic.n + ps[1].dynamic.n; n != room || tab.stats[FDBFull].Load() != 1 {
		t.Errorf("%d entries of the two ports are left, want %d; full %d, want 1", n, room, tab.stats[FDBFull].Load())
	}

	// If there are only static entries nearby, nothing is learned.
	for _, k := range ks[:room] {
		if err := tab.setEntry(k, ps[1], entryStatic); err != nil {
			t.Fatal(err)
		}
	}
	tab.learnKey(ks[room], ps[0])
	tab.check(t)
	if _, _, p := tab.get(ks[room]); p != nil || tab.stats[FDBFull].Load() != 2 {
		t.Errorf("learned without a free slot; full %d", tab.stats[FDBFull].Load())
	}
	if err := tab.setEntry(ks[room], ps[0], entryStatic); err != ErrTableFull {
		t.Errorf("setEntry: %v", err)
	}
	tab.check(t)
}

// TestLeastRecentlyUsedGoesFirst: an entry that was used since it was learned outlives older
// entries that were not used.
func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	tab := newFDB(4, FDBConfig{AgingTime: 100 * time.Second})
	p := tab.openAll(1)[0]
	for k := range fdbKey(4) {
		tab.learnKey(k, p)
	}
	tab.tick(5)
	tab.learnKey(0, p) // used
	tab.learnKey(10, p)
	tab.check(t)
	if _, _, owner := tab.get(0); owner == nil {
		t.Error("the entry that was used last was evicted")
	}
	if _, _, owner := tab.get(1); owner != nil {
		t.Error("the oldest unused entry is still there")
	}
	// If all entries were used, one of them is evicted nevertheless.
	tab.tick(6)
	for _, k := range []fdbKey{0, 2, 3, 10} {
		tab.learnKey(k, p)
	}
	tab.learnKey(11, p)
	tab.check(t)
	if tab.used != 4 || tab.destination(fdbKey(11).addr(), tab.perm.hash(11), tab.now()) != 1 {
		t.Errorf("%d entries, want 4, the newest among them", tab.used)
	}
}

// TestSweepReachesAllOfTheTable: a table that is swept in parts is swept completely.
func TestSweepReachesAllOfTheTable(t *testing.T) {
	tab := newFDB(200_000, FDBConfig{AgingTime: 10 * time.Second})
	p := tab.openAll(1)[0]
	for k := range fdbKey(20_000) {
		tab.learnKey(k<<12, p)
	}
	tab.tick(11)
	if tab.used != 20_000 {
		t.Fatalf("%d entries left at age 10 s", tab.used)
	}
	for i := range sweepTicks {
		tab.tick(12)
		if i > 0 {
			continue
		}
		if tab.used == 0 {
			t.Error("one tick swept the whole table")
		}
		for k := range fdbKey(20_000) {
			if tab.destination(addr(k), tab.perm.hash(k<<12), 12) != 0 {
				t.Fatalf("entry %d is too old, but still used", k)
			}
		}
	}
	tab.check(t)
	if tab.used != 0 {
		t.Errorf("%d entries left at age 11 s", tab.used)
	}
}

// TestStampsAheadOfTheBatch: the clock may tick while a batch is being delivered.
func TestStampsAheadOfTheBatch(t *testing.T) {
	tab := newFDB(10, FDBConfig{AgingTime: 10 * time.Second})
	p := tab.openAll(1)[0]
	before := tab.now()
	tab.tick(before + 1)
	tab.learnKey(1, p)
	if tab.destination(fdbKey(1).addr(), tab.perm.hash(1), before) != 1 {
		t.Error("an entry newer than the batch counts as too old")
	}
}

// TestRefresh: using an entry sets its age to 0, unless it is static.
func TestRefresh(t *testing.T) {
	tab := newFDB(10, FDBConfig{AgingTime: 10 * time.Second})
	p := tab.openAll(1)[0]
	tab.learnKey(1, p)
	h := tab.perm.hash(1)
	b, i, _ := tab.lookup(h)
	stamp := &tab.buckets[b].stamp[i]
	tab.tick(5)
	if tab.seen(1, h, 1, tab.now()); stamp.Load() != 5 {
		t.Errorf("stamp %d, want 5", stamp.Load())
	}
	if err := tab.setEntry(1, p, entryStatic); err != nil {
		t.Fatal(err)
	}
	tab.tick(6)
	if tab.seen(1, h, 1, tab.now()); tab.buckets[b].stamp[i].Load() != stampStatic {
		t.Error("a static entry has got a time stamp")
	}
}

func TestHeapKeepsTheLargestFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tab := newFDB(5000, FDBConfig{AgingTime: 10 * time.Second})
	ids := make([]portID, 40)
	for i := range ids {
		ids[i] = portID(i + 1)
	}
	ps := tab.openAll(ids...)
	for k := range fdbKey(4000) {
		tab.learnKey(k, ps[r.IntN(1+r.IntN(len(ps)))])
		if r.IntN(300) == 0 {
			i := r.IntN(len(ps))
			tab.closePort(ps[i])
			ps[i] = tab.openAll(ps[i].id)[0]
		}
	}
	tab.check(t)
	for _, p := range ps {
		if p.dynamic.n > tab.heap[0].dynamic.n {
			t.Errorf("port %d has %d entries, the heap's first %d", p.id, p.dynamic.n, tab.heap[0].dynamic.n)
		}
	}
}

// A sticky entry that is too old does not keep its address from being learned elsewhere, even if
// the sweep has not removed the entry yet.
func TestAgedStickyEntryBeforeTheSweep(t *testing.T) {
	tab := newFDB(10, FDBConfig{AgingTime: 10 * time.Second})
	ps := tab.openAll(1, 2)
	if err := tab.setEntry(5, ps[0], entrySticky); err != nil {
		t.Fatal(err)
	}
	for _, want := range []portID{1, 2} { // 10 and 11 s old
		tab.clock.Store(10 + uint32(want))
		tab.learnKey(5, ps[1])
		if got := tab.destination(fdbKey(5).addr(), tab.perm.hash(5), tab.now()); got != want {
			t.Errorf("after %d s: port %d, want %d", 9+want, got, want)
		}
	}
	tab.check(t)
}

// A change that fails in the middle leaves entries that were added by hand as they were.
func TestFailedRewriteKeepsEntriesByHand(t *testing.T) {
	tab := newFDB(100, FDBConfig{AgingTime: 10 * time.Second})
	tab.perm = identity
	p := tab.openAll(1)[0]
	p2 := tab.openAll(2)[0]
	byHand, gone := fdbKey(1<<40), fdbKey(2<<40)
	for _, k := range []fdbKey{byHand, gone} {
		if err := tab.setEntry(k, p, entryStatic); err != nil {
			t.Fatal(err)
		}
		tab.mark(k, true)
	}
	view := &portView{fdb: p2}
	plan := &rewriting{want: map[fdbKey]fixture{byHand: {view, entryStatic}}, stale: []fdbKey{gone}}
	for i := range fdbKey(bucketSlots*(maxDisp+1) + 1) { // more than have room near their home
		plan.want[i<<12|0x700] = fixture{view, entryStatic}
	}
	if err := tab.rewrite(plan); err != ErrTableFull {
		t.Fatalf("rewrite: %v", err)
	}
	for _, k := range []fdbKey{byHand, gone} {
		if s, kind, owner := tab.get(k); owner != p || kind != entryStatic || !tab.cold[s].byHand {
			t.Errorf("%#x: kind %d", k, kind)
		}
	}
	tab.check(t)
}
