package netport_test

import (
	"runtime/debug"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

// shareHuge adds n huge pages, which are absent, to a guest's memory.
func (g *guest) shareHuge(n int) *vhostusertest.Memory {
	g.Helper()
	m, err := g.front.NewHugeMemory(n, false)
	g.must(err)
	g.must(g.front.ShareMemory())
	return m
}

// holes returns a buffer of size bytes in each page of m.
func holes(m *vhostusertest.Memory, size int) (bufs []buf) {
	for at := uint64(0); at < m.Region.Size; at += vhostusertest.HugePage {
		bufs = append(bufs, virtqueuetest.Buf{Addr: m.Region.GuestAddr + at, Len: uint32(size)})
	}
	return bufs
}

func (g *guest) hugePages(m *vhostusertest.Memory) int {
	g.Helper()
	n, err := m.HugePages()
	g.must(err)
	return n
}

// offerHoles makes a frame available that begins in present memory and continues in bufs.
func (g *guest) offerHoles(to *guest, bufs []buf) {
	g.Helper()
	r := g.tx[0]
	start := r.cut(slices.Concat(g.header(), g.frameTo(to, 14)))
	head, err := r.AddChain(slices.Concat(start, bufs), nil)
	g.must(err)
	r.bufs[head] = start
	r.publish()
}

// A frame has pieces each of which is in another absent page: a poll requests one page at most,
// and provides none.
func TestFrameInAbsentHugePages(t *testing.T) {
	const pages = 200
	vhostusertest.NeedHugePages(t, pages)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	l := newLab(t)
	a, bad := l.newGuest(guestConfig{}), l.connect(guestConfig{size: 1024})
	mem := bad.shareHuge(pages)
	a.post(a.rx[0], 10, 20000)
	bad.offerHoles(a, holes(mem, 64))
	for polls := 0; len(bad.tx[0].bufs) > 0; {
		for _, s := range bad.transmitting() {
			s.Poll()
			polls++
		}
		if n := bad.hugePages(mem); n > polls {
			t.Fatalf("after %d polls %d pages are present", polls, n)
		}
		bad.reclaim()
	}
	// The frame waited for the pages of its head. Its body is read, if at all, with another
	// port's lock held, where no page is waited for.
	a.dropped(map[vswitch.DropReason]uint64{vswitch.DropFault: 1})
	exchangeDirect(a, bad)
}

// exchangeDirect is exchange without workers.
func exchangeDirect(a, b *guest) {
	a.Helper()
	for _, pair := range [][2]*guest{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		frame := from.frameTo(to, 2000)
		to.post(to.rx[0], 1, 4000)
		from.send(frame)
		from.poll()
		to.gets(frame)
		from.reclaim()
	}
}

// A frame whose receive buffer is in an absent page is dropped, together with the others of its
// group; the page is present for the next ones.
func TestReceiveBuffersInAbsentHugePages(t *testing.T) {
	const pages = 100
	vhostusertest.NeedHugePages(t, pages)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	l := newLab(t)
	a, bad := l.newGuest(guestConfig{}), l.connect(guestConfig{})
	mem := bad.shareHuge(pages)
	for _, b := range holes(mem, 2000) {
		_, err := bad.rx[0].AddChain(nil, []buf{b})
		bad.must(err)
	}
	bad.rx[0].publish()
	frame := a.frameTo(bad, 100)
	for range 64 {
		a.stage(frame)
	}
	a.poll()
	if n := bad.hugePages(mem); n > 1 {
		t.Errorf("64 frames made %d pages present", n)
	}
	bad.dropped(map[vswitch.DropReason]uint64{vswitch.DropPageAbsent: 64})
	for i := range pages {
		until(t, "a frame arrives", func() bool {
			a.reclaim()
			a.send(frame)
			a.poll()
			_, _, ok := bad.rx[0].PollUsed()
			return ok
		})
		if n := bad.hugePages(mem); n > i+2 {
			t.Fatalf("%d frames made %d pages present", i+1, n)
		}
	}
}

// takes receives all available frames, posts their buffers again, and reports whether
// frame is one of them.
func (g *guest) takes(frame []byte) (is bool) {
	g.Helper()
	for {
		f, ok := g.receive(g.rx[0])
		if !ok {
			return is
		}
		is = is || string(f.frame) == string(frame)
		g.post(g.rx[0], 1, 2500)
	}
}

// A guest that only causes faults at absent pages, in frames that it sends and receives, does not
// make two others that exchange frames lose a single frame, and a worker never provides a page.
func TestNeighbourWithAbsentHugePages(t *testing.T) {
	const pages, rounds = 64, 30
	vhostusertest.NeedHugePages(t, pages)
	l := newLab(t)
	l.work(1)
	a, b, bad := l.connect(guestConfig{}), l.connect(guestConfig{}), l.connect(guestConfig{size: 1024})
	exchange(a, b)
	for _, g := range []*guest{a, b} {
		g.post(g.rx[0], 100, 2500)
	}
	mem := bad.shareHuge(pages)
	var longest time.Duration
	for range rounds {
		bad.must(mem.Punch())
		for i := range 8 { // frames with heads, and frames with bodies, in holes
			bad.offerHoles([]*guest{a, b}[i%2], holes(mem, 24+i)[i:])
		}
		for _, hole := range holes(mem, 1600)[:16] {
			if head, err := bad.rx[0].AddChain(nil, []buf{hole}); err == nil {
				bad.rx[0].bufs[head] = nil
			}
		}
		bad.rx[0].publish()
		bad.kick()
		for i := range 20 {
			a.send(a.frameTo(bad, 100))
			frame := a.frameTo(b, 200)
			began := time.Now()
			a.send(frame)
			a.kick()
			until(t, "frame passes", func() bool { return b.takes(frame) })
			longest = max(longest, time.Since(began))
			if i == 0 {
				until(t, "chains are returned", func() bool { a.reclaim(); bad.reclaim(); return len(bad.tx[0].bufs) == 0 })
			}
			a.reclaim()
			a.takes(nil)
		}
		for {
			head, _, ok := bad.rx[0].PollUsed()
			if !ok {
				break
			}
			bad.rx[0].Release(head)
			delete(bad.rx[0].bufs, head)
		}
	}
	for _, g := range []*guest{a, b} {
		if n := g.counters.Drops(vswitch.DropRingFull); n != 0 {
			t.Errorf("%d frames found a full ring", n)
		}
	}
	if bad.counters.Drops(vswitch.DropPageAbsent) == 0 {
		t.Error("no frame met an absent page")
	}
	t.Logf("a frame took %v at most", longest)
}
