package virtqueue_test

import (
	"testing"

	"vswitchd/virtqueue/virtqueuetest"
)

// A round is the steady state of a queue: the driver offers 64 chains, the device pops, completes
// and publishes them. The driver's chains are fixed, so that the driver costs next to nothing.
type round struct {
	*guest
	heads []uint16 // packed ring only
	turn  int
}

// newRound returns a round of chains that build makes. In a packed ring the driver writes the
// descriptors anew each time.
func newRound(tb testing.TB, features uint64, build func(g *guest) uint16) *round {
	tb.Helper()
	drv, err := virtqueuetest.NewLocal(256, features, 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	r := &round{guest: start(tb, drv)}
	var heads []uint16
	for r.Free() >= 2 { // the longest direct chain here
		heads = append(heads, build(r.guest))
	}
	if features&packed != 0 {
		r.heads = heads
	} else {
		for i := range uint16(256) {
			r.SetAvailEntry(i, heads[int(i)%len(heads)])
		}
	}
	r.run(tb)
	for _, c := range r.b.Chains {
		if c.Err != nil {
			tb.Fatal(c.Err)
		}
	}
	return r
}

// run is one round.
func (r *round) run(tb testing.TB) {
	if r.heads == nil {
		r.OfferAgain(batch)
	} else {
		for range batch {
			r.Offer(r.heads[r.turn])
			if r.turn++; r.turn == len(r.heads) {
				r.turn = 0
			}
		}
	}
	r.Publish()
	r.serve(tb)
	r.SkipUsed()
}

// serve is the device's part of a round.
func (r *round) serve(tb testing.TB) {
	r.b.Reset()
	n, err := r.q.Pop(r.b, batch)
	if n != batch || err != nil {
		tb.Fatal(n, err)
	}
	for i := range r.b.Chains {
		r.q.Complete(&r.b.Chains[i], 12)
	}
	r.q.Flush()
}

var rounds = []struct {
	name     string
	features uint64
	build    func(g *guest) uint16
}{
	{"direct", 0, func(g *guest) uint16 {
		return must(g.Build([]buf{g.Alloc(256)}, nil))
	}},
	{"direct-eventidx", eventIdx, func(g *guest) uint16 {
		return must(g.Build(nil, []buf{g.Alloc(256)}))
	}},
	{"direct-inorder", inOrder, func(g *guest) uint16 {
		return must(g.Build([]buf{g.Alloc(256)}, nil))
	}},
	{"chained-2", 0, chained},
	{"indirect-3", indirect, indirect3},
	{"packed-direct", packed, func(g *guest) uint16 {
		return must(g.Build([]buf{g.Alloc(256)}, nil))
	}},
	{"packed-direct-eventidx", packed | eventIdx, func(g *guest) uint16 {
		return must(g.Build(nil, []buf{g.Alloc(256)}))
	}},
	{"packed-direct-inorder", packed | inOrder, func(g *guest) uint16 {
		return must(g.Build([]buf{g.Alloc(256)}, nil))
	}},
	{"packed-chained-2", packed, chained},
	{"packed-indirect-3", packed | indirect, indirect3},
}

func chained(g *guest) uint16 {
	return must(g.Build([]buf{g.Alloc(12), g.Alloc(256)}, nil))
}

func indirect3(g *guest) uint16 {
	return must(g.BuildIndirect([]buf{g.Alloc(12), g.Alloc(256), g.Alloc(256)}, nil))
}

func must(head uint16, err error) uint16 {
	if err != nil {
		panic(err)
	}
	return head
}

// BenchmarkRound measures pop, complete and publish of 64 chains.
func BenchmarkRound(b *testing.B) {
	for _, c := range rounds {
		b.Run(c.name, func(b *testing.B) {
			r := newRound(b, c.features, c.build)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r.run(b)
				n += batch
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/chain")
		})
	}
}

// The data path does not allocate.
func TestNoAllocations(t *testing.T) {
	for _, c := range rounds {
		r := newRound(t, c.features, c.build)
		if n := testing.AllocsPerRun(1000, func() { r.run(t) }); n != 0 {
			t.Errorf("%s: %v allocations for %d chains", c.name, n, batch)
		}
	}
}
