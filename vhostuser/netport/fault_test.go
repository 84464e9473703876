package netport_test

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser/netport"
)

// faulted waits until the guest's session has ended because its memory vanished.
func (g *guest) faulted() {
	g.Helper()
	if err := g.end(); !errors.Is(err, netport.ErrFault) {
		g.Errorf("guest %d: session ended with %v, want %v", g.n, err, netport.ErrFault)
	}
	g.front.Close()
}

// exchange checks that frames pass between two guests, both ways.
func exchange(a, b *guest) {
	a.Helper()
	for range 3 {
		for _, pair := range [][2]*guest{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			frame := from.frameTo(to, 3000)
			to.post(to.rx[0], 1, 4000)
			from.send(frame, 500)
			to.awaits(frame)
		}
		until(a, "chains are returned", func() bool { a.reclaim(); b.reclaim(); return len(a.tx[0].bufs)+len(b.tx[0].bufs) == 0 })
	}
}

// truncateRings removes the memory of a guest's rings, truncateBuffers the rest.
func (g *guest) truncateRings() {
	if err := g.front.Memory[0].Truncate(0); err != nil {
		g.Fatal(err)
	}
}

func (g *guest) truncateBuffers() {
	if err := g.data.Truncate(0); err != nil {
		g.Fatal(err)
	}
}

// A guest whose memory vanishes loses its session, wherever the fault occurs, and the others
// are not affected.
func TestMemoryVanishes(t *testing.T) {
	for name, attack := range map[string]func(a, b, bad *guest){
		"the rings, before a frame comes": func(a, b, bad *guest) {
			bad.truncateRings()
			a.send(a.frameTo(bad, 100))
		},
		"receive buffers": func(a, b, bad *guest) {
			bad.post(bad.rx[0], 10, 200)
			bad.truncateBuffers()
			a.send(a.frameTo(bad, 1000))
		},
		"the rings, before it sends": func(a, b, bad *guest) {
			bad.truncateRings()
			bad.kick()
		},
		"the header of what it sends": func(a, b, bad *guest) {
			bad.stage(bad.frameTo(a, 100))
			bad.truncateBuffers()
			bad.kick()
		},
		"an indirect table": func(a, b, bad *guest) {
			r := bad.tx[0]
			r.offer(bad, true, r.cut(slices.Concat(bad.header(), bad.frameTo(a, 100)), 12), nil)
			r.Publish()
			bad.truncateBuffers()
			bad.kick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(2)
			a, b, bad := l.connect(guestConfig{}), l.connect(guestConfig{}), l.connect(guestConfig{})
			exchange(a, b)
			attack(a, b, bad)
			bad.faulted()
			exchange(a, b)
			until(t, "chains are returned", func() bool { a.reclaim(); return len(a.tx[0].bufs) == 0 })
			a.dropped(nil)
			b.dropped(nil)
			bad.dial()
			exchange(a, bad)
		})
	}
}

// kick wakes the device for the guest's first transmitq.
func (g *guest) kick() {
	g.Helper()
	for _, r := range g.front.Rings {
		if r.Index == 1 {
			if err := r.Kick(); err != nil {
				g.Fatal(err)
			}
		}
	}
}

// stage publishes a frame without a kick.
func (g *guest) stage(frame []byte, sizes ...int) {
	g.Helper()
	r := g.tx[0]
	r.offer(g, false, r.cut(slices.Concat(g.header(), frame), sizes...), nil)
	r.Publish()
}

// The body of a frame is first read when another port copies it, with that port's lock held: the
// fault is attributed to the sender, and the frames around it arrive.
func TestBodyVanishes(t *testing.T) {
	const offloads = csum | guestCsum
	for name, c := range map[string]struct {
		header []byte // of the frame whose body vanishes
		flood  bool
	}{
		"one destination":            {},
		"several destinations":       {flood: true},
		"in the switch's own repair": {header: []byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(2)
			a, b := l.connect(guestConfig{}), l.connect(guestConfig{})
			bad := l.connect(guestConfig{features: modern | offloads, offloads: offloads})
			exchange(a, b)
			for _, g := range []*guest{a, b} {
				g.post(g.rx[0], 10, 5000)
			}
			// A frame whose memory vanishes after its head, between two that stay.
			stays, gone := tcp4(bad, a, 140), tcp4(bad, a, 4000)
			if c.flood {
				copy(gone, vswitchtest.Broadcast[:])
			}
			header := bad.header()
			copy(header, c.header)
			r := bad.tx[0]
			head := slices.Concat(header, gone[:vswitch.HeadMax])
			whole := r.cut(slices.Concat(bad.header(), stays))
			kept := r.cut(head)
			end := kept[0].Addr + uint64(len(head)) - bad.data.Region.GuestAddr
			r.cut(make([]byte, 4096)) // the next buffer is in another page
			lost := r.cut(gone[vswitch.HeadMax:])
			for _, bufs := range [][]buf{whole, {kept[0], lost[0]}, whole} {
				r.offer(bad, false, bufs, nil)
			}
			if err := bad.data.Truncate(int64(end+4095) &^ 4095); err != nil {
				t.Fatal(err)
			}
			r.Publish()
			bad.kick()
			bad.faulted()
			if c.header == nil {
				a.awaits(stays)
				a.awaits(stays)
				a.dropped(map[vswitch.DropReason]uint64{vswitch.DropFault: 1})
			} // otherwise the batch never left the switch
			exchangeLeft(a, b)
			bad.dial()
			exchange(b, bad)
		})
	}
}

// exchangeLeft is exchange between guests that still have receive buffers.
func exchangeLeft(a, b *guest) {
	a.Helper()
	for _, pair := range [][2]*guest{{a, b}, {b, a}} {
		frame := pair[0].frameTo(pair[1], 2000)
		pair[0].send(frame)
		pair[1].awaits(frame)
	}
}

// Guests whose memory vanishes under traffic, again and again, do not make two others, which
// exchange frames with them and with each other, lose a single frame.
func TestOthersLoseNoFrame(t *testing.T) {
	l := newLab(t)
	l.work(2)
	a, b := l.connect(guestConfig{memory: 4 << 20}), l.connect(guestConfig{memory: 4 << 20})
	bad := l.connect(guestConfig{memory: 4 << 20})
	var (
		stop atomic.Bool
		wg   sync.WaitGroup
		sent [2]atomic.Uint64
		got  [2]atomic.Uint64
	)
	t.Cleanup(func() { stop.Store(true); wg.Wait() }) // if the test fails: before memory is unmapped
	for _, g := range []*guest{a, b} {
		g.stock()
	}
	// Each continues until both have received everything.
	done := func() bool { return stop.Load() && sent[0].Load() == got[1].Load() && sent[1].Load() == got[0].Load() }
	for i, g := range []*guest{a, b} {
		wg.Go(func() { g.converse(l.guests[1-i], bad, &sent[i], &got[i], &got[1-i], &stop, done) })
	}
	rounds := 30
	for i := range rounds {
		r := bad.tx[0]
		bad.post(bad.rx[0], 100, 1500)
		for n := range 60 {
			to := []*guest{a, b}[n%2]
			r.offer(bad, false, r.cut(slices.Concat(bad.header(), sealed(bad.n, to.n, 3000, uint64(i*60+n+1)))), nil)
		}
		r.publish()
		// Both receive more from each other than was in flight: so they have received the
		// bad guest's frames of the last round, and their rings do not fill up.
		was := [2]uint64{got[0].Load(), got[1].Load()}
		until(t, "frames pass", func() bool {
			return got[0].Load() > was[0]+2*window && got[1].Load() > was[1]+2*window || t.Failed()
		})
		bad.truncateBuffers()
		r.SetAvailIdx(60 + 60) // the same chains again: their buffers are gone
		bad.kick()
		bad.faulted()
		bad.dial()
	}
	stop.Store(true)
	wg.Wait()
	if n := a.counters.Drops(vswitch.DropRingFull) + b.counters.Drops(vswitch.DropRingFull); n != 0 {
		t.Errorf("%d frames found a full ring", n)
	}
}

// stock posts as many receive buffers as possible.
func (g *guest) stock() {
	g.Helper()
	r := g.rx[0]
	for r.Free() > 0 {
		r.offer(g, false, nil, []buf{r.Alloc(4096)})
	}
	r.publish()
}

// window limits the number of frames in flight between two guests that converse.
const window = 40

// converse sends frames to another guest, never more than the other has buffers for, and now and
// then one to a third. It checks that no frame of the other is missing.
func (g *guest) converse(with, third *guest, sent, got, gotByOther *atomic.Uint64, stop *atomic.Bool, done func() bool) {
	var sentThird, next uint64
	tx, rx := g.tx[0], g.rx[0]
	send := func(to *guest, seq uint64) {
		f := sealed(g.n, to.n, 26+int(seq*97%3000), seq)
		tx.offer(g, false, tx.cut(slices.Concat(g.header(), f)), nil)
	}
	for !g.Failed() && !done() {
		g.stock()
		for !stop.Load() && sent.Load() < gotByOther.Load()+window && len(tx.bufs) < 100 {
			send(with, sent.Add(1))
			if sent.Load()%4 == 0 {
				sentThird++
				send(third, sentThird)
			}
		}
		tx.publish()
		g.reclaim()
		for range window { // there must still be buffers after that
			f, ok := g.receive(rx)
			if !ok {
				break
			}
			from, seq := unseal(g, g.n, f.frame)
			if from != with.n {
				continue
			}
			if next++; seq != next {
				g.Errorf("guest %d: frame %d of guest %d, want %d", g.n, seq, from, next)
				return
			}
			got.Add(1)
		}
		runtime.Gosched()
	}
}
