package virtqueue_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
)

// Tests of the in-flight record. The tests of a device that dies are in inflight_die_test.go and,
// over long runs, in the model test.

func TestInflightSize(t *testing.T) {
	for _, c := range []struct {
		size   int
		packed bool
		want   int
	}{
		{1, false, 64}, {3, false, 64}, {4, false, 128}, {256, false, 4160}, {32768, false, 524352},
		{1, true, 64}, {2, true, 128}, {256, true, 8256}, {32768, true, 1048640},
	} {
		if n := virtqueue.InflightSize(c.size, c.packed); n != c.want {
			t.Errorf("size %d, packed %t: %d bytes, want %d", c.size, c.packed, n, c.want)
		}
	}
}

// The layout is the specification's: other back-ends may continue with our records.
func TestInflightLayout(t *testing.T) {
	g := newGuest(t, 4, 0)
	rec := make([]byte, virtqueue.InflightSize(4, false))
	if err := g.q.SetInflight(rec); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if le.Uint64(rec) != 0 || le.Uint16(rec[8:]) != 1 || le.Uint16(rec[10:]) != 4 {
		t.Fatalf("head is % x", rec[:16])
	}
	for _, head := range []uint16{2, 0} {
		g.SetDesc(head, desc{g.Alloc(8).Addr, 8, 0, 0})
		g.Offer(head)
	}
	g.Publish()
	g.pop(t, 2)
	entry := func(i int) []byte { return rec[16+16*i:] }
	if entry(2)[0] != 1 || entry(0)[0] != 1 || entry(1)[0] != 0 || entry(3)[0] != 0 {
		t.Fatalf("marked: % x", rec[16:])
	}
	if le.Uint64(entry(2)[8:]) >= le.Uint64(entry(0)[8:]) {
		t.Fatalf("counters are %d, %d", le.Uint64(entry(2)[8:]), le.Uint64(entry(0)[8:]))
	}
	for i := range g.b.Chains {
		g.q.Complete(&g.b.Chains[i], 0)
	}
	g.q.Flush()
	if entry(2)[0] != 0 || entry(0)[0] != 0 {
		t.Fatalf("still marked: % x", rec[16:])
	}
	// The batch is a list: 0, then 2.
	if last, next, used := le.Uint16(rec[12:]), le.Uint16(entry(0)[6:]), le.Uint16(rec[14:]); last != 0 || next != 2 || used != 2 {
		t.Fatalf("last_batch_head %d, next %d, used_idx %d", last, next, used)
	}
}

func TestInflightLayoutPacked(t *testing.T) {
	g := newGuest(t, 5, packed)
	rec := make([]byte, virtqueue.InflightSize(5, true))
	if err := g.q.SetInflight(rec); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	in := []buf{g.Alloc(10), g.Alloc(20)}
	head, err := g.AddChain(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Publish()
	g.pop(t, 1)
	if le.Uint16(rec[8:]) != 1 || le.Uint16(rec[10:]) != 5 || le.Uint16(rec[12:]) != 2 || le.Uint16(rec[14:]) != 2 {
		t.Fatalf("head is % x", rec[:32])
	}
	if rec[20] != 1 || rec[21] != 1 {
		t.Fatalf("wrap counters %d, %d", rec[20], rec[21])
	}
	first, second := rec[32:64], rec[64:96]
	if first[0] != 1 || le.Uint16(first[2:]) != 1 || le.Uint16(first[4:]) != 1 || le.Uint16(first[6:]) != 2 {
		t.Fatalf("first entry % x", first)
	}
	if second[0] != 0 || le.Uint16(second[16:]) != head || le.Uint32(second[20:]) != 20 || le.Uint64(second[24:]) != in[1].Addr {
		t.Fatalf("second entry % x", second)
	}
	if le.Uint16(first[18:])&flagNext == 0 || le.Uint16(second[18:])&flagNext != 0 {
		t.Fatalf("flags %#x, %#x", le.Uint16(first[18:]), le.Uint16(second[18:]))
	}
	g.q.Complete(&g.b.Chains[0], 0)
	g.q.Flush()
	if first[0] != 0 || le.Uint16(rec[12:]) != 0 || le.Uint16(rec[14:]) != 0 || le.Uint16(rec[16:]) != 2 || le.Uint16(rec[18:]) != 2 {
		t.Fatalf("record is % x", rec[:64])
	}
}

// pop pops n chains into an empty batch.
func (g *guest) pop(t testing.TB, n int) []virtqueue.Chain {
	t.Helper()
	g.b.Reset()
	if got, err := g.q.Pop(g.b, n); got != n || err != nil {
		t.Fatalf("popped %d of %d chains, %v", got, n, err)
	}
	return g.b.Chains
}

// follow replaces the queue by one that continues with the record.
func (g *guest) follow(t testing.TB, rec []byte) {
	t.Helper()
	q, err := virtqueue.New(g.Memory(), g.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.SetInflight(rec); err != nil {
		t.Fatal(err)
	}
	g.q = q
}

func TestBadInflightRecords(t *testing.T) {
	le := binary.LittleEndian
	for name, features := range map[string]uint64{"split": 0, "packed": packed} {
		good := func() []byte {
			g := newGuest(t, 4, features)
			rec := make([]byte, virtqueue.InflightSize(4, features != 0))
			if err := g.q.SetInflight(rec); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := g.AddChain([]buf{g.Alloc(8), g.Alloc(8)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			g.Publish()
			g.pop(t, 2)
			return rec
		}
		for what, spoil := range map[string]func(rec []byte) []byte{
			"too short":           func(rec []byte) []byte { return rec[:len(rec)-1] },
			"misaligned":          func(rec []byte) []byte { return append(make([]byte, 4), rec...)[4:] },
			"unknown version":     func(rec []byte) []byte { rec[8] = 2; return rec },
			"unknown features":    func(rec []byte) []byte { rec[3] = 1; return rec },
			"of another size":     func(rec []byte) []byte { rec[10] = 8; return rec },
			"batch of too many":   func(rec []byte) []byte { le.PutUint16(rec[14:], 0xfff0); le.PutUint16(rec[16:], 3); return rec },
			"place not in ring":   func(rec []byte) []byte { le.PutUint16(rec[14:], 0x8000); le.PutUint16(rec[16:], 4); return rec },
			"batch begins beyond": func(rec []byte) []byte { le.PutUint32(rec[12:], 0xffff_0004); le.PutUint16(rec[18:], 1); return rec },
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				g := newGuest(t, 4, features)
				rec := spoil(good())
				if err := g.q.SetInflight(rec); !errors.Is(err, virtqueue.ErrInflight) {
					t.Fatal(err)
				}
				// The queue is as it was without a record.
				if _, err := g.AddChain([]buf{g.Alloc(8)}, nil); err != nil {
					t.Fatal(err)
				}
				g.Publish()
				g.pop(t, 1)
			})
		}
	}
}

// Chains that share an entry or an id would free it twice.
func TestInflightRecordWithChainsInOne(t *testing.T) {
	for what, spoil := range map[string]func(rec []byte){
		"one entry": func(rec []byte) { copy(rec[32+2*32+2:][:2], rec[32+2:][:2]) }, // same next
		"one id":    func(rec []byte) { copy(rec[32+3*32+16:][:2], rec[32+1*32+16:][:2]) },
	} {
		g := newGuest(t, 4, packed)
		rec := make([]byte, virtqueue.InflightSize(4, true))
		if err := g.q.SetInflight(rec); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			must(g.AddChain([]buf{g.Alloc(8), g.Alloc(8)}, nil))
		}
		g.Publish()
		g.pop(t, 2)
		spoil(rec)
		if err := newGuest(t, 4, packed).q.SetInflight(rec); !errors.Is(err, virtqueue.ErrInflight) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Chains that were in flight come first, count as available, keep the device from sleeping, can be
// unpopped, and determine the base.
func TestResubmission(t *testing.T) {
	for _, features := range []uint64{0, packed, inOrder, packed | inOrder} {
		g := newGuest(t, 8, features)
		rec := make([]byte, virtqueue.InflightSize(8, features&packed != 0))
		if err := g.q.SetInflight(rec); err != nil {
			t.Fatal(err)
		}
		var heads []uint16
		for range 5 {
			head, err := g.AddChain([]buf{g.Alloc(8)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			heads = append(heads, head)
		}
		g.Publish()
		start := g.q.Base()
		g.pop(t, 3)
		g.follow(t, rec)
		check := func(what string, got, want any) {
			t.Helper()
			if got != want {
				t.Fatalf("features %#x: %s: %v, want %v", features, what, got, want)
			}
		}
		n, err := g.q.Available()
		check("available", n, 5)
		check("error", err, error(nil))
		check("base", g.q.Base(), start)
		check("pending", g.q.Arm(), true)
		popped := func(n int) (got []uint16) {
			for _, c := range g.pop(t, n) {
				got = append(got, c.Head())
			}
			return got
		}
		check("first", slices.Equal(popped(2), heads[:2]), true)
		check("base", uint16(g.q.Base()), uint16(start)+2)
		g.q.Unpop(g.b, 1)
		check("again", slices.Equal(popped(2), heads[1:3]), true)
		check("new ones", slices.Equal(popped(2), heads[3:]), true)
		// Unpop across the boundary: the batch has one resubmitted chain and two new ones.
		g.q.Unpop(g.b, 2)
		n, _ = g.q.Available()
		check("available", n, 2)
		check("new ones again", slices.Equal(popped(2), heads[3:]), true)
		check("pending", g.q.Arm(), false)
	}
}

// Unpop of chains some of which came from the record.
func TestUnpopAcrossResubmission(t *testing.T) {
	for _, features := range []uint64{0, packed} {
		g := newGuest(t, 8, features)
		rec := make([]byte, virtqueue.InflightSize(8, features&packed != 0))
		if err := g.q.SetInflight(rec); err != nil {
			t.Fatal(err)
		}
		var heads []uint16
		for range 4 {
			head, _ := g.AddChain([]buf{g.Alloc(8), g.Alloc(8)}, nil)
			heads = append(heads, head)
		}
		g.Publish()
		g.pop(t, 2)
		for range 3 { // unpopping changes nothing, however often
			g.follow(t, rec)
			g.b.Reset()
			for range 2 {
				if n, err := g.q.Pop(g.b, 2); n != 2 || err != nil {
					t.Fatal(n, err)
				}
			}
			g.q.Unpop(g.b, 3)
			if len(g.b.Chains) != 1 {
				t.Fatal(len(g.b.Chains))
			}
			for range 2 {
				if _, err := g.q.Pop(g.b, 4); err != nil {
					t.Fatal(err)
				}
			}
			var got []uint16
			for _, c := range g.b.Chains {
				got = append(got, c.Head())
			}
			if !slices.Equal(got, heads) {
				t.Fatalf("features %#x: popped %v instead of %v", features, got, heads)
			}
			g.q.Unpop(g.b, 2) // in the first round these are not in the record
		}
	}
}

// Two chains in flight with the same id cannot be told apart.
func TestInflightIDTwice(t *testing.T) {
	g := newGuest(t, 4, packed)
	rec := make([]byte, virtqueue.InflightSize(4, true))
	if err := g.q.SetInflight(rec); err != nil {
		t.Fatal(err)
	}
	head, _ := g.AddChain([]buf{g.Alloc(8)}, nil)
	g.Offer(head)
	g.Publish()
	if n, err := g.q.Pop(g.b, 4); n != 0 || err == nil || len(g.b.Chains) != 0 || g.q.Err() == nil {
		t.Fatal(n, err, len(g.b.Chains))
	}
}

// A record in which nothing is marked does not affect a ring that was set up anew.
func TestInflightRecordOfFormerRing(t *testing.T) {
	g := newGuest(t, 4, 0)
	rec := make([]byte, virtqueue.InflightSize(4, false))
	if err := g.q.SetInflight(rec); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		head, _ := g.AddChain([]buf{g.Alloc(8)}, nil)
		g.Publish()
		g.q.Complete(&g.pop(t, 1)[0], 0)
		g.q.Flush()
		g.PollUsed()
		g.Release(head)
	}
	g.Abandon(0)
	g.follow(t, rec)
	if g.q.LastAvail() != 0 {
		t.Fatal(g.q.LastAvail())
	}
}

func TestInflightRecordVanishes(t *testing.T) {
	fd, mem := memfd(t, 0x1000)
	g := newGuest(t, 4, 0)
	if err := g.q.SetInflight(mem); err != nil {
		t.Fatal(err)
	}
	g.AddChain([]buf{g.Alloc(8)}, nil)
	g.Publish()
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := fault(t, func() { g.q.Pop(g.b, 1) })
	if addr == 0 || !virtqueue.Contains(mem, addr) || virtqueue.Contains(mem[:8], addr+4096) {
		t.Fatalf("fault at %#x", addr)
	}
	if err := newGuest(t, 4, 0).q.SetInflight(mem); !errors.Is(err, virtqueue.ErrInflight) {
		t.Fatal(err)
	}
	if err := g.q.SetInflight(nil); err != nil {
		t.Fatal(err)
	}
}

// FuzzInflight continues with records that no device has left. A record is refused, or yields
// chains of guest memory, with no more descriptors than the ring has.
func FuzzInflight(f *testing.F) {
	f.Fuzz(func(t *testing.T, size byte, isPacked bool, content []byte) {
		features, n := uint64(indirect), 1<<(size%4)
		if isPacked {
			features |= packed
			n = 1 + int(size%9)
		}
		g := newGuest(t, n, features)
		rec := make([]byte, virtqueue.InflightSize(n, isPacked))
		copy(rec, content)
		// Most random records have an unknown version or another size.
		if len(content) > 0 && content[0]&1 != 0 {
			clear(rec[:8])
			rec[8], rec[9], rec[10], rec[11] = 1, 0, byte(n), 0
		}
		if err := g.q.SetInflight(rec); err != nil {
			if !errors.Is(err, virtqueue.ErrInflight) {
				t.Fatal(err)
			}
			return
		}
		for range 3 {
			g.b.Reset()
			total := 0
			for total <= n {
				k, err := g.q.Pop(g.b, n)
				if k == 0 || err != nil {
					break
				}
				total += k
			}
			if total > n {
				t.Fatalf("%d chains in a ring of %d", total, n)
			}
			for i := range g.b.Chains {
				c := &g.b.Chains[i]
				for _, s := range slices.Concat(c.Readable, c.Writable) {
					_ = s[len(s)-1]
				}
				if i%3 != 0 {
					g.q.Complete(c, 0)
				}
			}
			g.q.Flush()
		}
	})
}
