package virtqueue_test

import (
	"testing"

	"vswitchd/virtqueue"
)

// A ring is unused until the device has used a chain, whether or not the driver has made chains
// available, and does not become unused again when its indices wrap around.
func TestUnused(t *testing.T) {
	for name, features := range map[string]uint64{"split": 0, "packed": packed} {
		t.Run(name, func(t *testing.T) {
			const size = 4
			g := newGuest(t, size, features)
			unused := func(when string, want bool) {
				t.Helper()
				cfg := g.Config()
				cfg.Base = g.q.Base()
				q, err := virtqueue.New(g.Memory(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := q.Unused(); err != nil || got != want {
					t.Errorf("%s: unused is %v, %v", when, got, err)
				}
			}
			unused("new", true)
			pass := func() {
				if _, err := g.AddChain(nil, []buf{g.Alloc(16)}); err != nil {
					t.Fatal(err)
				}
				g.Publish()
			}
			pass()
			unused("with a chain available", true)
			for i := range 3 * size {
				b := virtqueue.NewBatch(1)
				if n, err := g.q.Pop(b, 1); n != 1 || err != nil {
					t.Fatalf("%d chains, %v", n, err)
				}
				g.q.Complete(&b.Chains[0], 1)
				g.q.Flush()
				head, _, ok := g.PollUsed()
				if !ok {
					t.Fatal("the chain is not returned")
				}
				g.Release(head)
				if i%size != size-1 {
					unused("within a lap", false)
				}
				if features == 0 {
					unused("at the end of a lap", false)
				}
				pass()
				unused("with the next one available", false)
			}
		})
	}
}

// The used index of a split ring is 0 again after 65536 chains; its used elements show that
// the ring was used.
func TestUsedIndexThatHasComeAround(t *testing.T) {
	g := newGuest(t, 4, 0)
	if _, err := g.AddChain(nil, []buf{g.Alloc(16)}); err != nil {
		t.Fatal(err)
	}
	g.Publish()
	b := virtqueue.NewBatch(1)
	if _, err := g.q.Pop(b, 1); err != nil {
		t.Fatal(err)
	}
	g.q.Complete(&b.Chains[0], 1)
	g.q.Flush()
	g.SetUsed(0, 0)
	if unused, err := g.q.Unused(); unused || err != nil {
		t.Errorf("unused is %v, %v", unused, err)
	}
}
