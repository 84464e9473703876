package virtqueue_test

import (
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Tests of event suppression in packed rings (virtio 1.2, section 2.8.10).

// publishes makes the device use chains with the given numbers of descriptors in one batch, and
// reports whether the device signalled.
func (g *guest) publishes(t testing.TB, lengths ...int) (signalled bool) {
	t.Helper()
	var heads []uint16
	for _, n := range lengths {
		bufs := make([]buf, n)
		for i := range bufs {
			bufs[i] = buf{Addr: g.Regions()[0].GuestAddr, Len: 8}
		}
		heads = append(heads, must(g.AddChain(bufs, nil)))
	}
	g.Publish()
	chains := g.pop(t, len(lengths))
	for i := range chains {
		g.q.Complete(&chains[i], 0)
	}
	calls := g.q.Calls()
	g.q.Flush()
	for range lengths {
		if _, _, ok := g.PollUsed(); !ok {
			t.Fatal("not published")
		}
	}
	for _, head := range heads {
		g.Release(head)
	}
	return g.q.Calls() != calls
}

func TestDriverEventFlags(t *testing.T) {
	for _, features := range []uint64{packed, packed | eventIdx} {
		g := newGuest(t, 8, features)
		g.q.SetCall(eventfd(t))
		g.q.Signal()
		for _, c := range []struct {
			event uint32
			want  bool
		}{
			{virtqueuetest.EventEnable, true},
			{virtqueuetest.EventDisable, false},
			{virtqueuetest.EventEnable | 0xffff, true},
			{virtqueuetest.EventDisable | 0x8003, false},
			{3 << 16, true}, // "The value 0x3 is reserved": better one signal too many
			{0xfffc_0000, true},
			{0xfffd_0000, false},
		} {
			g.SetDriverEvent(c.event)
			if got := g.publishes(t, 1); got != c.want {
				t.Errorf("features %#x, event %#x: signalled is %t", features, c.event, got)
			}
		}
		// Nothing completed, no signal.
		g.SetDriverEvent(virtqueuetest.EventEnable)
		n := g.q.Calls()
		g.q.Flush()
		if g.q.Calls() != n {
			t.Error("signalled for nothing")
		}
	}
	// "Only valid if VIRTIO_F_RING_EVENT_IDX has been negotiated": otherwise a position does
	// not suppress the signal.
	g := newGuest(t, 8, packed)
	g.q.SetCall(eventfd(t))
	g.q.Signal()
	g.SetDriverEvent(virtqueuetest.EventDesc | 0x8007)
	if !g.publishes(t, 1) {
		t.Error("suppressed by a position that is not valid")
	}
}

// The driver asks for a signal when the descriptor at its event position becomes used: when that is
// one of the places of the batch, including those without a used descriptor.
func TestDriverEventPosition(t *testing.T) {
	call := eventfd(t)
	for size := 1; size <= 7; size++ {
		for at := range size {
			for _, wrap := range []uint16{0, 1 << 15} {
				g := newGuest(t, size, packed|eventIdx)
				for _, lengths := range [][]int{{1}, {1, 1}, {2}, {1, 2}, {2, 3}, {1, 1, 1, 1, 1, 1, 1}, {7}} {
					total := 0
					for _, n := range lengths {
						total += n
					}
					if total > size {
						continue
					}
					for event := range size {
						for _, eventWrap := range []uint16{0, 1 << 15} {
							g.Abandon(uint16(at) | wrap)
							g = start(t, g.Driver)
							g.q.SetCall(call)
							g.q.Signal()
							g.SetDriverEvent(virtqueuetest.EventDesc | uint32(event) | uint32(eventWrap))
							want := false
							for i := range total {
								idx, w := at+i, wrap
								if idx >= size {
									idx, w = idx-size, w^1<<15
								}
								want = want || idx == event && w == eventWrap
							}
							if got := g.publishes(t, lengths...); got != want {
								t.Fatalf("size %d, %v from %d/%#x, event %d/%#x: signalled is %t", size, lengths, at, wrap, event, eventWrap, got)
							}
						}
					}
				}
			}
		}
	}
	// A place that is not in the ring is never reached.
	g := newGuest(t, 5, packed|eventIdx)
	g.q.SetCall(call)
	g.q.Signal()
	for event := uint32(5); event <= 0x7fff; event += 97 {
		g.SetDriverEvent(virtqueuetest.EventDesc | event | event&1<<15)
		if g.publishes(t, 1, 2) {
			t.Fatal(event)
		}
	}
}

// The device asks for a kick at the next descriptor with EVENT_IDX, at any without, at
// none while polling.
func TestDeviceEvent(t *testing.T) {
	for _, features := range []uint64{packed, packed | eventIdx} {
		g := newGuest(t, 3, features)
		for i := range 20 {
			want := uint32(virtqueuetest.EventEnable)
			if features&eventIdx != 0 {
				want = virtqueuetest.EventDesc | uint32(g.NextPlace())
			}
			if g.q.Arm() {
				t.Fatal("pending chains on an empty ring")
			}
			if got := g.DeviceEvent(); got != want {
				t.Fatalf("round %d: armed with %#x, want %#x", i, got, want)
			}
			head := must(g.AddChain([]buf{g.Alloc(8)}, nil))
			if !g.Publish() {
				t.Fatal("armed, but no kick is requested")
			}
			if !g.q.Arm() {
				t.Fatal("missed a chain")
			}
			g.q.Disarm()
			if got := g.DeviceEvent(); got != virtqueuetest.EventDisable {
				t.Fatalf("disarmed with %#x", got)
			}
			g.q.Complete(&g.pop(t, 1)[0], 0)
			g.q.Flush()
			if head2 := must(g.AddChain([]buf{g.Alloc(8)}, nil)); g.Publish() {
				t.Fatal("disarmed, but a kick is requested")
			} else {
				g.q.Complete(&g.pop(t, 1)[0], 0)
				g.q.Flush()
				g.PollUsed()
				g.PollUsed()
				g.Release(head)
				g.Release(head2)
			}
		}
	}
}

// The device asks to be kicked for the next chain that it is going to pop, not the next that it
// is going to use.
func TestDeviceEventWithChainsInUse(t *testing.T) {
	g := newGuest(t, 8, packed|eventIdx)
	for range 3 {
		must(g.AddChain([]buf{g.Alloc(8)}, nil))
	}
	g.Publish()
	g.pop(t, 3)
	g.q.Arm()
	if got, want := g.DeviceEvent(), virtqueuetest.EventDesc|uint32(g.NextPlace()); got != want || g.NextPlace() != 3|1<<15 {
		t.Fatalf("armed with %#x, want %#x", got, want)
	}
}

// Polling writes to the driver's cache line once, not in every round.
func TestDisarmTwiceWritesOnce(t *testing.T) {
	g := newGuest(t, 4, packed)
	g.q.Arm()
	g.q.Disarm()
	g.SetDeviceEvent(0x1234)
	g.q.Disarm()
	if g.DeviceEvent() != 0x1234 {
		t.Fatalf("%#x", g.DeviceEvent())
	}
	g.q.Arm()
	g.q.Disarm()
	if g.DeviceEvent() != virtqueuetest.EventDisable {
		t.Fatalf("%#x", g.DeviceEvent())
	}
}

// VIRTIO_F_NOTIFY_ON_EMPTY: a legacy driver is signalled when the device has run out of chains,
// even though it asked for no signals. The feature has no meaning in packed rings, which legacy
// drivers do not have.
func TestNotifyOnEmpty(t *testing.T) {
	const onEmpty = 1 << virtqueue.FeatureNotifyOnEmpty
	for _, c := range []struct {
		features uint64
		want     bool
	}{
		{0, false}, {onEmpty, true}, {eventIdx, false}, {onEmpty | eventIdx, true}, {onEmpty | packed, false},
	} {
		g := newGuest(t, 8, c.features)
		g.q.SetCall(eventfd(t))
		g.q.Signal()
		g.Disarm()
		add := func() {
			must(g.AddChain([]buf{g.Alloc(8)}, nil))
			g.Publish()
		}
		flush := func() bool {
			n := g.q.Calls()
			g.q.Flush()
			return g.q.Calls() != n
		}
		add()
		add()
		first := g.pop(t, 1)[0]
		g.q.Complete(&first, 0)
		if flush() {
			t.Errorf("features %#x: signalled with a chain available", c.features)
		}
		second := g.pop(t, 1)[0]
		g.q.Complete(&second, 0)
		if got := flush(); got != c.want {
			t.Errorf("features %#x: signalled when empty is %t", c.features, got)
		}
		if flush() {
			t.Errorf("features %#x: signalled for nothing", c.features)
		}
		// A chain that becomes available while the last one is being used is seen.
		add()
		third := g.pop(t, 1)[0]
		add()
		g.q.Complete(&third, 0)
		if flush() {
			t.Errorf("features %#x: signalled with a new chain available", c.features)
		}
	}
}
