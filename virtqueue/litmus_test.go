package virtqueue_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Each side stores an announcement and then loads that of the other side. If both do so at the same
// time, at least one has to see the other's. Without a full fence between the two steps a processor
// may load before its store is visible ("store buffering"), and both miss.

// together repeatedly runs a and b at the same time, as exactly as spinning allows, and then check.
func together(a, b, check func()) {
	var started, ended atomic.Int64
	meet := func(at *atomic.Int64, n int64) {
		at.Add(1)
		for spins := 0; at.Load() < n; spins++ {
			if spins > 200 {
				runtime.Gosched()
			}
		}
	}
	// One of the two does extra work before its announcement. The amount changes from round to
	// round, so that in some rounds both are between their two steps at the same time.
	const skews = 128
	wait := func(n int64) {
		for range n {
			started.Load()
		}
	}
	const rounds = looks / 16
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(rounds) {
			meet(&started, 2*i+2)
			wait(i%skews - skews/2)
			b()
			meet(&ended, 2*i+2)
		}
	})
	for i := range int64(rounds) {
		meet(&started, 2*i+2)
		wait(skews/2 - i%skews)
		a()
		meet(&ended, 2*i+2)
		check() // runs alone: the other goroutine waits for the next round
	}
	wg.Wait()
}

// The device goes to sleep while the driver makes a chain available: the device finds the
// chain, or gets a kick.
func TestArmAgainstPublish(t *testing.T) {
	for name, features := range map[string]uint64{"flag": 0, "event": eventIdx, "packed": packed, "packed event": packed | eventIdx} {
		t.Run(name, func(t *testing.T) {
			g := mapped(t, features)
			head := must(g.Build([]buf{{Addr: 0x1000, Len: 8}}, nil))
			g.q.Disarm()
			var pending, kick bool
			missed := 0
			together(
				func() { pending = g.q.Arm() },
				func() { g.Offer(head); kick = g.Publish() },
				func() {
					if !pending && !kick {
						missed++
					}
					g.b.Reset()
					if n, err := g.q.Pop(g.b, 1); n != 1 || err != nil {
						t.Error(n, err)
					}
					g.q.Complete(&g.b.Chains[0], 0)
					g.q.Flush()
					g.q.Disarm()
				})
			if missed > 0 {
				t.Fatalf("%d chains would have waited forever", missed)
			}
		})
	}
}

// The driver goes to sleep while the device publishes a used chain: the driver finds the chain,
// or gets a signal.
func TestFlushAgainstDriverArm(t *testing.T) {
	for name, features := range map[string]uint64{"flag": 0, "event": eventIdx, "packed": packed, "packed event": packed | eventIdx} {
		t.Run(name, func(t *testing.T) {
			g := mapped(t, features)
			head := must(g.Build([]buf{{Addr: 0x1000, Len: 8}}, nil))
			next := func() {
				g.Offer(head)
				g.Publish()
				g.pop(t, 1)
			}
			next()
			g.q.SetCall(eventfd(t))
			g.q.Signal()
			g.Disarm()
			calls := g.q.Calls()
			var pending bool
			missed := 0
			together(
				func() { pending = g.Arm() },
				func() { g.q.Complete(&g.b.Chains[0], 0); g.q.Flush() },
				func() {
					if !pending && g.q.Calls() == calls {
						missed++
					}
					calls = g.q.Calls()
					g.SkipUsed()
					g.Disarm()
					next()
				})
			if missed > 0 {
				t.Fatalf("%d completions would have waited forever", missed)
			}
		})
	}
}
