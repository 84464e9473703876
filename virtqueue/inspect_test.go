package virtqueue_test

import (
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Inspect shows the state of a queue and changes nothing.
func TestInspect(t *testing.T) {
	for _, features := range []uint64{0, eventIdx, packed, packed | eventIdx} {
		g := newGuest(t, 8, features)
		look := func(waiting, inFlight int) virtqueue.Inspection {
			t.Helper()
			before := string(g.Regions()[0].Mem)
			i, ok := g.q.Inspect()
			if !ok || i.Waiting != waiting || g.q.InFlight() != inFlight {
				t.Errorf("features %#x: %+v, %t, %d in flight; want %d waiting, %d in flight", features, i, ok, g.q.InFlight(), waiting, inFlight)
			}
			if n, ok := g.q.Waiting(8); !ok || n != waiting {
				t.Errorf("features %#x: %d chains wait, %t; want %d", features, n, ok, waiting)
			}
			if before != string(g.Regions()[0].Mem) {
				t.Errorf("features %#x: Inspect changed memory", features)
			}
			return i
		}
		look(0, 0)
		for range 3 {
			must(g.AddChain([]buf{g.Alloc(8)}, nil))
		}
		g.Publish()
		look(3, 0)
		g.pop(t, 2)
		if i := look(1, 2); features&packed == 0 && i.AvailIdx != 3 {
			t.Errorf("available index %d", i.AvailIdx)
		}
		for i := range g.b.Chains {
			g.q.Complete(&g.b.Chains[i], 0)
		}
		look(1, 2) // not yet published to the driver
		g.q.Flush()
		look(1, 0)

		g.Disarm()
		g.q.Disarm()
		quiet := look(1, 0)
		g.Arm()
		g.q.Arm()
		awake := look(1, 0)
		switch {
		case features == eventIdx:
			// Event indices cannot express "never".
			if want := (virtqueue.Notify{When: virtqueue.AtEvent, Event: 2}); awake.Kicks != want {
				t.Errorf("kicks %+v, want %+v", awake.Kicks, want)
			}
			if want := (virtqueue.Notify{When: virtqueue.AtEvent, Event: g.UsedEvent()}); awake.Signals != want {
				t.Errorf("signals %+v, want %+v", awake.Signals, want)
			}
			continue
		case features == packed|eventIdx:
			if want := (virtqueue.Notify{When: virtqueue.AtEvent, Event: 1<<15 | 2}); awake.Kicks != want {
				t.Errorf("kicks %+v, want %+v", awake.Kicks, want)
			}
		case awake.Kicks.When != virtqueue.Always || awake.Signals.When != virtqueue.Always:
			t.Errorf("features %#x: awake, but Inspect shows %+v", features, awake)
		}
		if quiet.Kicks.When != virtqueue.Never || quiet.Signals.When != virtqueue.Never {
			t.Errorf("features %#x: quiet, but Inspect shows %+v", features, quiet)
		}
	}
}

// Whatever a hostile driver has written is displayed, and not acted on.
func TestInspectNonsense(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.SetAvailIdx(1000)
	if i, ok := g.q.Inspect(); !ok || i.Waiting != 1000 || g.q.Err() != nil {
		t.Errorf("%+v, %t, %v", i, ok, g.q.Err())
	}
	if n, ok := g.q.Waiting(8); !ok || n != 8 {
		t.Errorf("%d chains wait in a ring of 8, %t", n, ok)
	}
	// Each descriptor links to another one, endlessly.
	g = newGuest(t, 8, packed)
	for i := range 8 {
		g.SetPackedDesc(i, virtqueuetest.PackedDesc{Addr: 1, Len: 1, Flags: flagNext | 1<<7})
	}
	if i, ok := g.q.Inspect(); !ok || i.Waiting != 0 || g.q.Err() != nil {
		t.Errorf("%+v, %t, %v", i, ok, g.q.Err())
	}
	empty, err := virtqueue.NewMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	g.q.SetMemory(empty)
	if _, ok := g.q.Inspect(); ok {
		t.Error("Inspect succeeds without memory")
	}
	if _, ok := g.q.Waiting(8); ok {
		t.Error("Waiting succeeds without memory")
	}
}

// Of a packed ring, as many descriptors are read as the caller allows.
func TestWaitingIsBounded(t *testing.T) {
	g := newGuest(t, 8, packed)
	for range 4 {
		must(g.AddChain([]buf{g.Alloc(8)}, nil))
	}
	g.Publish()
	for limit, want := range []int{0, 1, 2, 3, 4, 4} {
		if n, ok := g.q.Waiting(limit); !ok || n != want {
			t.Errorf("limit %d: %d chains wait, %t; want %d", limit, n, ok, want)
		}
	}
}

// Chains that a previous device popped are in flight, and waiting to be popped.
func TestInspectResubmission(t *testing.T) {
	for _, features := range []uint64{0, packed} {
		g := newGuest(t, 8, features)
		rec := make([]byte, virtqueue.InflightSize(8, features != 0))
		if g.q.Tracked() {
			t.Error("there is no record yet")
		}
		if err := g.q.SetInflight(rec); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			must(g.AddChain([]buf{g.Alloc(8)}, nil))
		}
		g.Publish()
		g.pop(t, 2)
		g.follow(t, rec)
		if i, ok := g.q.Inspect(); !ok || i.Waiting != 3 || g.q.InFlight() != 2 || !g.q.Tracked() {
			t.Errorf("features %#x: %+v, %t, %d in flight", features, i, ok, g.q.InFlight())
		}
	}
}
