package virtqueue_test

import (
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Tests of VIRTIO_F_IN_ORDER (virtio 1.2, sections 2.7.9 and 2.8.8).

// usesInOrder makes chains (numbers of readable and writable pieces) and has them used in one
// batch, each with all of its writable bytes written.
func (g *guest) usesInOrder(t *testing.T, chains ...[2]int) (heads []uint16) {
	t.Helper()
	for _, n := range chains {
		var in, out []buf
		for range n[0] {
			in = append(in, g.Alloc(8))
		}
		for range n[1] {
			out = append(out, g.Alloc(8))
		}
		heads = append(heads, must(g.AddChain(in, out)))
	}
	g.Publish()
	for _, c := range g.pop(t, len(chains)) {
		g.q.Complete(&c, uint32(virtqueue.Len(c.Writable)))
	}
	g.q.Flush()
	return heads
}

// takes makes the driver take back the given chains.
func (g *guest) takes(t *testing.T, heads []uint16, lengths ...uint32) {
	t.Helper()
	for i, want := range heads {
		if head, n, ok := g.PollUsed(); !ok || head != want || n != lengths[i] {
			t.Fatalf("used chain %d is %d with %d bytes, %t; want %d with %d", i, head, n, ok, want, lengths[i])
		}
		g.Release(want)
	}
	if _, _, ok := g.PollUsed(); ok {
		t.Fatal("one used chain too many")
	}
}

// "only writing out a single used ring entry with the id corresponding to the head entry of the
// descriptor chain describing the last buffer in the batch. The device then skips forward in the
// ring according to the size of the batch": the entry is where the first chain's entry would be.
func TestInOrderSplit(t *testing.T) {
	g := newGuest(t, 8, inOrder)
	g.Abandon(6)
	g = start(t, g.Driver)
	for i := range uint16(8) {
		g.SetUsedEntry(i, 0xdead, 0xbeef)
	}
	heads := g.usesInOrder(t, [2]int{1, 0}, [2]int{2, 0}, [2]int{1, 0}, [2]int{1, 0})
	if _, idx := g.Used(); idx != 10 || g.q.UsedIdx() != 10 {
		t.Fatal(idx, g.q.UsedIdx())
	}
	if id, n := g.UsedEntry(6); id != uint32(heads[3]) || n != 0 {
		t.Fatal(id, n)
	}
	for _, i := range []uint16{0, 1, 7} {
		if id, n := g.UsedEntry(i); id != 0xdead || n != 0xbeef {
			t.Errorf("entry %d was written: %d, %d", i, id, n)
		}
	}
	g.takes(t, heads, 0, 0, 0, 0)
}

// In a packed ring each chain has a separate used element: no place can be left out anyway.
func TestInOrderPacked(t *testing.T) {
	g := newGuest(t, 7, packed|inOrder)
	g.Abandon(5 | 1<<15)
	g = start(t, g.Driver)
	heads := g.usesInOrder(t, [2]int{1, 0}, [2]int{2, 0}, [2]int{1, 0})
	for i, at := range []int{5, 6, 1} {
		if d := g.PackedDesc(at); d.ID != heads[i] || d.Flags != virtqueuetest.Used(at > 1) || d.Len != 0 {
			t.Errorf("place %d: %+v", at, d)
		}
	}
	if g.q.UsedIdx() != 2 || g.q.LastAvail() != 2 {
		t.Fatalf("%#x, %#x", g.q.UsedIdx(), g.q.LastAvail())
	}
	g.takes(t, heads, 0, 0, 0)
}

// "The skipped buffers ... are assumed to have been used (read or written) by the device
// completely": a chain whose length has to be reported is not skipped, nor are the chains before
// it.
func TestInOrderWithLengths(t *testing.T) {
	g := newGuest(t, 16, inOrder)
	elements := func() (n int) {
		for i := range uint16(16) {
			if id, _ := g.UsedEntry(i); id != 0xdead {
				n++
			}
			g.SetUsedEntry(i, 0xdead, 0)
		}
		return n
	}
	elements()
	for _, c := range []struct {
		chains  [][2]int
		lengths []uint32
		want    int // used elements
	}{
		{[][2]int{{0, 1}, {0, 1}}, []uint32{8, 8}, 2},
		{[][2]int{{1, 0}, {1, 1}, {1, 0}, {1, 0}}, []uint32{0, 8, 0, 0}, 3},
		{[][2]int{{1, 0}, {1, 0}}, []uint32{0, 0}, 1},
		{[][2]int{{1, 0}}, []uint32{0}, 1},
	} {
		g.takes(t, g.usesInOrder(t, c.chains...), c.lengths...)
		if n := elements(); n != c.want {
			t.Errorf("chains %v: %d used elements, want %d", c.chains, n, c.want)
		}
	}
}

// An invalid chain may have had writable buffers. It gets a separate used element, with length 0.
func TestInOrderBadChain(t *testing.T) {
	for _, features := range []uint64{inOrder, packed | inOrder} {
		g := newGuest(t, 8, features)
		good, bad := g.Alloc(8), buf{Addr: 1 << 60, Len: 8}
		var heads []uint16
		for _, b := range []buf{good, bad} {
			heads = append(heads, must(g.AddChain(nil, []buf{b})))
		}
		heads = append(heads, must(g.AddChain([]buf{good}, nil)))
		g.Publish()
		for i, c := range g.pop(t, 3) {
			if (c.Err != nil) != (i == 1) {
				t.Fatal(i, c.Err)
			}
			n := 0
			if i == 0 {
				n = 5
			}
			g.q.Complete(&c, uint32(n))
		}
		g.q.Flush()
		g.takes(t, heads, 5, 0, 0)
	}
}

// A chain that was unpopped and popped again still has its length.
func TestInOrderUnpop(t *testing.T) {
	for _, features := range []uint64{inOrder, packed | inOrder} {
		g := newGuest(t, 8, features)
		a := g.Alloc(8)
		heads := []uint16{must(g.AddChain([]buf{a}, nil)), must(g.AddChain([]buf{a}, nil)), must(g.AddChain(nil, []buf{a}))}
		g.Publish()
		g.pop(t, 3)
		g.q.Unpop(g.b, 1)
		for i := range 2 {
			g.q.Complete(&g.b.Chains[i], 0)
		}
		g.q.Flush()
		c := g.pop(t, 1)[0]
		g.q.Complete(&c, 3)
		g.q.Flush()
		g.takes(t, heads, 0, 0, 3)
	}
}

// A batch with one element advances the index by all of its chains, and an event index in between
// counts.
func TestInOrderEventIndex(t *testing.T) {
	for _, features := range []uint64{inOrder | eventIdx, packed | inOrder | eventIdx} {
		g := newGuest(t, 8, features)
		g.q.SetCall(eventfd(t))
		g.q.Signal()
		if features&packed != 0 {
			g.SetDriverEvent(virtqueuetest.EventDesc | 2 | 1<<15)
		} else {
			g.SetUsedEvent(2)
		}
		calls := g.q.Calls()
		g.usesInOrder(t, [2]int{1, 0}, [2]int{1, 0}, [2]int{1, 0}, [2]int{1, 0})
		if g.q.Calls() != calls+1 {
			t.Errorf("features %#x: no signal", features)
		}
	}
}
