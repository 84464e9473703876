package netport_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// drain does a worker's job for the guest's receiveqs, from a wake-up until there is nothing more
// to do, and returns the number of frames that were delivered.
func (g *guest) drain() (n int) {
	for _, s := range g.residents {
		s.Disarm()
		for {
			k := s.Poll()
			n += k
			if k == 0 && !s.Arm() {
				break
			}
		}
	}
	return n
}

// held checks what the port holds.
func (g *guest) held(frames int, total uint64) {
	g.Helper()
	h := g.port.Held()
	if h.Frames != frames || h.Total != total || (h.Bytes == 0) != (frames == 0) {
		g.Fatalf("guest %d: holds %+v, want %d frames, and %d that had to wait", g.n, h, frames, total)
	}
}

// numbered returns n frames between guests of different lengths up to longest, and their bytes.
func numbered(from, to *guest, n, longest int) (frames []*vswitch.Frame, want [][]byte) {
	for i := range n {
		b := from.frameTo(to, 60+(i*97)%(longest-59))
		f := vswitchtest.Frame(b)
		frames, want = append(frames, &f), append(want, slices.Clone(b))
	}
	return frames, want
}

// accepts passes frames to the port, in batches, and fails if one is refused.
func (g *guest) accepts(frames []*vswitch.Frame) {
	g.Helper()
	for part := range slices.Chunk(frames, vswitch.MaxBatch) {
		for i, why := range g.transmit(part...) {
			if why != "" {
				g.Fatalf("frame %d of a batch is refused: %s", i, why)
			}
		}
	}
}

func rings() map[string]uint64 {
	return map[string]uint64{
		"split":            modern,
		"split, event-idx": modern | eventIdx,
		"packed":           modern | 1<<virtqueue.FeatureRingPacked,
		"packed, event":    modern | eventIdx | 1<<virtqueue.FeatureRingPacked,
	}
}

// Frames for which there are no buffers are delivered when there are some, in order, and before
// later ones, whoever delivers them.
func TestHeldFramesArriveInOrder(t *testing.T) {
	for name, features := range rings() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{features: features, queueLen: 1000, memory: 4 << 20})
			b.post(b.rx[0], 3, 2000)
			frames, want := numbered(a, b, 200, 1514)
			b.accepts(frames[:100])
			b.held(97, 97)
			if b.woken != 1 {
				t.Errorf("the worker was woken %d times, want once", b.woken)
			}
			for _, f := range want[:3] {
				b.gets(f)
			}
			if n := b.drain(); n != 0 {
				t.Errorf("%d frames were delivered without buffers", n)
			}
			b.post(b.rx[0], 70, 2000)
			if n := b.drain(); n != 70 {
				t.Errorf("%d frames were delivered into 70 buffers", n)
			}
			b.post(b.rx[0], 100, 2000)
			b.accepts(frames[100:]) // delivers the held ones first
			b.post(b.rx[0], 30, 2000)
			b.drain()
			for _, f := range want[3:] {
				b.gets(f)
			}
			b.getsNothing()
			b.held(0, 97+100-(100-27))
			b.dropped(nil)
			if n := b.counters.TxFrames.Load(); n != 200 {
				t.Errorf("%d frames are counted as sent, want 200", n)
			}
		})
	}
}

// While frames are held the guest is asked for a kick, and not otherwise. Its kick has them
// delivered by a worker.
func TestKickDeliversHeldFrames(t *testing.T) {
	for name, features := range rings() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(2)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{features: features, queueLen: 1000, memory: 4 << 20})
			b.post(b.rx[0], 1, 2000) // nothing is held for a driver that has never made a buffer available
			for round := range 50 {
				frames, want := numbered(a, b, 1+rand.IntN(100), 1514)
				b.post(b.rx[0], min(rand.IntN(len(frames)), b.rx[0].Free()), 2000)
				b.accepts(frames)
				for len(want) > 0 {
					f, ok := b.receive(b.rx[0])
					if ok {
						b.same(f, want[0])
						want = want[1:]
						continue
					}
					if b.port.Held().Frames == 0 || b.rx[0].Free() == 0 {
						continue // a worker is about to publish them
					}
					b.rx[0].offer(t, false, nil, []buf{b.rx[0].Alloc(2000)})
					b.rx[0].publish() // kicks if asked
				}
				if h := b.port.Held(); h.Frames != 0 || h.Bytes != 0 {
					t.Fatalf("round %d: still holds %+v", round, h)
				}
			}
			b.dropped(nil)
		})
	}
}

// A frame that needs more buffers than there are is not tried again before the guest has made
// further ones available, and has kicked.
func TestHeldFrameWaitsForEnoughBuffers(t *testing.T) {
	for name, features := range rings() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{features: features, queueLen: 100, memory: 4 << 20})
			frames, want := []*vswitch.Frame{}, [][]byte{}
			for range 5 {
				want = append(want, a.frameTo(b, 60_000))
				f := vswitchtest.Frame(slices.Clone(want[len(want)-1]))
				frames = append(frames, &f)
			}
			b.post(b.rx[0], 7, 1500)
			b.accepts(frames)
			counted(b.rx[0].kick)
			b.held(5, 5)
			for i := 0; i < len(want); {
				if n := b.drain(); n > 1 {
					t.Fatalf("%d frames were delivered at once", n)
				}
				if f, ok := b.receive(b.rx[0]); ok {
					b.same(f, want[i])
					i++
					continue
				}
				b.rx[0].offer(t, false, nil, []buf{b.rx[0].Alloc(1500)})
				b.rx[0].publish()
				if counted(b.rx[0].kick) == 0 {
					t.Fatal("the guest was not asked to kick")
				}
			}
			b.dropped(nil)
		})
	}
}

// A queue holds QueueLen frames, and half of that of frames that other ports get, too.
func TestHeldFramesAreLimited(t *testing.T) {
	l := newLab(t)
	a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queueLen: 10})
	b.post(b.rx[0], 1, 2000)
	unicast, want := numbered(a, b, 20, 200)
	b.accepts(unicast[:1])
	b.gets(want[0])
	var flood []*vswitch.Frame
	for range 20 {
		f := vswitchtest.Frame(vswitchtest.Ether(vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, vswitchtest.Station(a.n), make([]byte, 50)))
		flood = append(flood, &f)
	}
	check := func(frames []*vswitch.Frame, kept int) {
		t.Helper()
		for i, why := range b.transmit(frames...) {
			if want := map[bool]string{false: "ring-full"}[i < kept]; why != want {
				t.Errorf("frame %d: %q, want %q", i, why, want)
			}
		}
	}
	check(flood, 5)
	check(unicast[1:], 5)
	b.held(10, 10)
	b.port.SetQueueLen(0)
	check(unicast[6:], 0)
	b.post(b.rx[0], 20, 2000)
	if n := b.drain(); n != 10 {
		t.Errorf("%d frames were delivered, want 10", n)
	}
	b.held(0, 10)
}

// Ports whose guests do not receive cannot use up the memory for holding frames: each further one
// gets some.
func TestHoldMemoryIsShared(t *testing.T) {
	l := newLab(t)
	l.hold = netport.NewHoldMemory(8 << 20)
	a := l.newGuest(guestConfig{})
	long := a.frameTo(a, 9000)
	last := int64(1 << 40)
	for n := range 20 {
		g := l.newGuest(guestConfig{queueLen: 1 << 20, size: 16, memory: 1 << 16})
		g.post(g.rx[0], 1, 2000)
		refused := 0
		for range 2000 {
			f := vswitchtest.Frame(long)
			if g.transmit(&f)[0] != "" {
				refused++
			}
		}
		h := g.port.Held()
		if h.Frames == 0 || refused == 0 || h.Bytes > last {
			t.Fatalf("guest %d: holds %+v, %d refused; the one before holds %d bytes", n, h, refused, last)
		}
		last = h.Bytes
	}
	for _, g := range l.guests[1:] {
		g.port.RingStopped(0)
		g.held(0, g.port.Held().Total)
	}
	g := l.newGuest(guestConfig{queueLen: 1 << 20, size: 16, memory: 1 << 16})
	g.post(g.rx[0], 1, 2000)
	for range 300 {
		f := vswitchtest.Frame(long)
		g.transmit(&f)
	}
	if h := g.port.Held(); h.Frames < 299 {
		t.Errorf("memory was not given back: %+v", h)
	}
}

// Held frames that cannot be delivered any more are counted as dropped.
func TestHeldFramesAreDropped(t *testing.T) {
	for name, c := range map[string]struct {
		stop func(g *guest)
		why  vswitch.DropReason
	}{
		"ring stopped":  {func(g *guest) { g.port.RingStopped(0) }, vswitch.DropDown},
		"ring disabled": {func(g *guest) { g.port.RingEnabled(0, false) }, vswitch.DropDown},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queueLen: 100})
			b.post(b.rx[0], 1, 2000)
			frames, want := numbered(a, b, 21, 1514)
			b.accepts(frames)
			b.held(20, 20)
			c.stop(b)
			b.held(0, 20)
			b.gets(want[0])
			b.getsNothing()
			b.dropped(map[vswitch.DropReason]uint64{c.why: 20})
			b.drain()
		})
	}
}

// A frame whose memory vanishes while the frame is copied is not held, and those after it keep
// their order.
func TestFaultWhileHolding(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b := newLab(t).newGuest(guestConfig{queueLen: 100, fault: func(uintptr) {}})
	b.post(b.rx[0], 1, 2000)
	frames := framesFor(t, b, 200, 300, 0, 400, 0, 500)
	if d := fmt.Sprint(b.transmit(frames...)); d != fmt.Sprint([]string{"", "", "memory-fault", "", "memory-fault", ""}) {
		t.Fatalf("refused: %s", d)
	}
	b.held(3, 3)
	b.post(b.rx[0], 10, 2000)
	b.drain()
	for _, n := range []int{200, 300, 400, 500} {
		if f, ok := b.receive(b.rx[0]); !ok || len(f.frame) != n {
			t.Fatalf("got %d bytes, %v, want %d", len(f.frame), ok, n)
		}
	}
	b.getsNothing()
}

// A held frame keeps its offloads.
func TestHeldFramesKeepTheirOffloads(t *testing.T) {
	l := newLab(t)
	a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queueLen: 100, memory: 4 << 20})
	b.post(b.rx[0], 1, 2000)
	frames, want := numbered(a, b, 1, 100)
	b.accepts(frames)
	b.gets(want[0])
	large := vswitchtest.Frame(a.frameTo(b, 40000))
	large.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, GSOType: vswitch.GSOTCPv4, HdrLen: 54, GSOSize: 1448, CsumStart: 34, CsumOffset: 16}
	body := slices.Clone(vswitchtest.Bytes(&large))
	b.accepts([]*vswitch.Frame{&large})
	b.held(1, 1)
	b.post(b.rx[0], 30, 1500)
	b.drain()
	f := b.gets(body)
	if h := large.Offload.Header(); string(f.header[:10]) != string(h[:]) {
		t.Errorf("header %x, want %x", f.header[:10], *h)
	}
}

// The fuel of this test is chance: sends, buffers, drains and flows, against a queue of numbers.
func TestHoldingAgainstModel(t *testing.T) {
	for name, features := range rings() {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{features: features, queueLen: 40, size: 64, memory: 1 << 20})
			var sent [][]byte
			lost := 0
			b.post(b.rx[0], 1, 300)
			for range 3000 {
				switch r.IntN(4) {
				case 0:
					if b.rx[0].Free() > 20 {
						b.post(b.rx[0], 1+r.IntN(10), 300)
					}
				case 1:
					b.drain()
				case 2:
					for f, ok := b.receive(b.rx[0]); ok; f, ok = b.receive(b.rx[0]) {
						b.same(f, sent[0])
						sent = sent[1:]
					}
				case 3:
					frames, want := numbered(a, b, 1+r.IntN(70), 250)
					for i, why := range b.transmit(frames[:min(len(frames), vswitch.MaxBatch)]...) {
						if why == "" {
							sent = append(sent, want[i])
						} else {
							lost++
						}
					}
				}
				if h := b.port.Held(); h.Frames > 40 {
					t.Fatalf("%d frames are held", h.Frames)
				}
			}
			for len(sent) > 0 {
				if f, ok := b.receive(b.rx[0]); ok {
					b.same(f, sent[0])
					sent = sent[1:]
					continue
				}
				b.post(b.rx[0], 1, 300)
				b.drain()
			}
			b.getsNothing()
			if n := b.counters.Drops(vswitch.DropRingFull); n != uint64(lost) {
				t.Errorf("%d drops are counted, want %d", n, lost)
			}
		})
	}
}
