package netport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"vswitchd/internal/worker"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

const (
	inOrder = 1 << virtqueue.FeatureInOrder
	packed  = 1 << virtqueue.FeatureRingPacked

	pageSize = 4096

	// A logged guest's rings: the head of a used ring ends a page, its entries have two
	// separate pages, and avail_event begins another. In a packed ring, the descriptors have
	// four pages, and the device's event suppression is where the head is.
	loggedSize  = 1024
	loggedUsed  = 5*pageSize - 4
	loggedAvail = 8 * pageSize
	loggedRing  = 9 * pageSize     // plus a page of room
	loggedSlot  = 3 * pageSize     // for a receive buffer
	loggedRecv  = 100 * loggedSlot // for all of them
	loggedSend  = 64 * pageSize    // for transmit buffers
	loggedBufs  = 2 * loggedRing   // where both begin
)

// A logged guest is being migrated by its front-end.
type logged struct {
	*guest
	rnd  *rand.Rand
	log  *vhostusertest.Log
	slot int    // of the next receive buffer
	was  []byte // all memory, before the current step of the device

	all  bool    // LOG_ALL is on, and there is a log
	used [2]bool // by ring: writes to its used ring are logged
}

// connectLogged makes a guest with a session. Its rings begin shortly before their indices wrap.
func (l *lab) connectLogged(features uint64) *logged {
	l.Helper()
	g := &logged{guest: l.newPort(guestConfig{features: features, size: loggedSize}), rnd: rand.New(rand.NewPCG(features, 1))}
	front, backend, err := vhostusertest.Pair()
	g.must(err)
	g.front, g.ended = front, make(chan error, 1)
	go func() {
		err := vhostuser.Serve(context.Background(), backend, g.port, vhostuser.Options{})
		g.port.SessionEnded()
		g.ended <- err
	}()
	l.Cleanup(func() { g.hangUp(); g.port.Close() })
	g.must(front.Handshake(features|1<<vhostuser.FeatureProtocolFeatures,
		1<<vhostuser.ProtocolFeatureReplyAck|1<<vhostuser.ProtocolFeatureLogShmFD|1<<vhostuser.ProtocolFeatureRARP))
	if front.Features&^(1<<vhostuser.FeatureProtocolFeatures) != features {
		g.Fatalf("features %#x are negotiated, want %#x", front.Features, features)
	}
	g.data, err = front.NewMemory(loggedBufs + loggedRecv + loggedSend)
	g.must(err)
	g.must(front.ShareMemory())
	g.rx, g.tx = []*ring{g.newLoggedRing(0)}, []*ring{g.newLoggedRing(1)}
	for _, r := range front.Rings {
		g.must(front.StartRing(r))
	}
	return g
}

func (g *logged) newLoggedRing(index int) *ring {
	g.Helper()
	at := g.data.Region.UserAddr + uint64(index*loggedRing)
	m := g.data.Region
	regions := []virtqueue.Region{{GuestAddr: m.GuestAddr, UserAddr: m.UserAddr, Mem: g.data.Bytes}}
	drv, err := virtqueuetest.New(regions, virtqueue.Config{
		Size: loggedSize, Features: g.front.Features, Base: g.base(0xfff0),
		Desc: at, Used: at + loggedUsed, Avail: at + loggedAvail,
	})
	g.must(err)
	if index == 0 {
		drv.Room(m.GuestAddr+loggedBufs, loggedRecv)
	} else {
		drv.Room(m.GuestAddr+loggedBufs+loggedRecv, loggedSend)
	}
	r := &vhostusertest.Ring{Index: index, Driver: drv, KickFD: newEventfd(g), CallFD: newEventfd(g)}
	g.front.Rings = append(g.front.Rings, r)
	return &ring{Driver: drv, index: index, kick: r.KickFD, call: r.CallFD, bufs: make(map[uint16][]buf)}
}

// base returns the base that corresponds to an index.
func (g *logged) base(idx uint16) uint32 {
	if g.cfg.features&packed == 0 {
		return uint32(idx)
	}
	at := uint32(idx%loggedSize) | 1<<15
	return at | at<<16
}

// setLog passes another log to the back-end.
func (g *logged) setLog() {
	g.Helper()
	l, err := vhostusertest.NewLog(g.data.Region.GuestAddr + g.data.Region.Size)
	g.must(err)
	g.Cleanup(l.Close)
	g.must(g.front.SetLogBase(l))
	g.log = l
}

func (g *logged) logAll(on bool) {
	g.Helper()
	g.must(g.front.LogAll(on))
	g.all = on
}

// logUsed switches logging of a used ring.
func (g *logged) logUsed(index int, on bool) {
	g.Helper()
	g.must(g.front.LogRing(g.front.Rings[index], on))
	g.used[index] = on
}

// changed returns the pages, by guest address, in which memory has changed.
func (g *logged) changed(was []byte) (pages []uint64) {
	for at := 0; at < len(was); at += pageSize {
		if !bytes.Equal(g.data.Bytes[at:at+pageSize], was[at:at+pageSize]) {
			pages = append(pages, g.data.Region.GuestAddr+uint64(at))
		}
	}
	return pages
}

// spoil makes the bytes that the device is going to write differ from those that are there: all
// parts of the used rings that the device writes, except the index.
func (g *logged) spoil() {
	for _, r := range []*ring{g.rx[0], g.tx[0]} {
		if g.cfg.features&packed != 0 {
			r.SetDeviceEvent(0xdead)
			continue // used descriptors overwrite available ones
		}
		_, idx := r.Used()
		r.SetUsed(0xdead, idx)
		r.SetAvailEvent(idx + 12345)
		for i := range uint16(loggedSize) {
			r.SetUsedEntry(i, 0xaaaa, 0xaaaa)
		}
	}
}

// does runs one step of the device and checks that exactly those of the changed pages are marked
// that should be. All used chains have been taken before. It returns how many pages have changed,
// of buffers and of rings.
func (g *logged) does(what string, do func()) (buffers, rings int) {
	g.Helper()
	g.spoil()
	g.was = append(g.was[:0], g.data.Bytes...)
	do()
	var want, got []uint64
	all := g.changed(g.was)
	for _, p := range all {
		at := p - g.data.Region.GuestAddr
		inRing := at < loggedBufs
		if inRing {
			rings++
		} else {
			buffers++
		}
		if g.all && (!inRing || g.used[at/loggedRing]) {
			want = append(want, p)
		}
	}
	if g.log != nil {
		got = g.log.Dirty()
		g.log.Clear()
	}
	if !slices.Equal(got, want) {
		g.Fatalf("%s: pages %#x have changed, %#x of them should be marked, %#x are", what, all, want, got)
	}
	return buffers, rings
}

// A piece of a receive buffer is len bytes at an offset in its slot.
type piece struct {
	at  uint64
	len uint32
}

// stock posts receive chains of all kinds, for n frames.
func (g *logged) stock(n int) {
	g.Helper()
	r := g.rx[0]
	kinds := [][]piece{
		{{pageSize - 10, 1700}},                                    // num_buffers begins a page
		{{pageSize - 10, 10}, {2*pageSize - 1, 1700}},              // it straddles two
		{{10, 10}, {pageSize + 10, 2}, {2*pageSize + 1000, 1700}},  // it has a separate page
		{{100, 1700}, {2 * pageSize, pageSize}},                    // more than is needed
		{{8, 12}, {pageSize + 8, 40}, {2*pageSize - 20, pageSize}}, // the frame is split
	}
	if g.cfg.features&mrgRxbuf != 0 {
		kinds = append(kinds, [][]piece{{{50, 200}}, {{pageSize - 10, 300}}, {{10, 10}, {pageSize, 190}}}...)
		n *= 8
	}
	for len(r.bufs) < n+10 {
		at := g.data.Region.GuestAddr + loggedBufs + uint64(g.slot)*loggedSlot
		g.slot = (g.slot + 1) % (loggedRecv / loggedSlot)
		var bufs []buf
		for _, p := range kinds[g.rnd.IntN(len(kinds))] {
			b := buf{Addr: at + p.at, Len: p.len}
			fill := r.Bytes(b)
			for i := range fill {
				fill[i] = 0xee
			}
			bufs = append(bufs, b)
		}
		if g.rnd.IntN(8) == 0 {
			r.offer(g, false, []buf{{Addr: at, Len: 60}}, nil) // not a receive buffer
		}
		r.offer(g, false, nil, bufs)
	}
	r.publish()
}

// frame returns a frame from one guest to another, without the byte values that buffers
// are filled with.
func (g *logged) frame(from, to int) []byte {
	f := frameBetween(from, to, []int{60, 60, 300, 1514}[g.rnd.IntN(4)])
	for i := 14; i < len(f); i++ {
		f[i] &= 0x7f
	}
	return f
}

// eachSource calls f for the guest's sources, as a worker does.
func (g *guest) eachSource(f func(s worker.Source)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sources {
		f(s)
	}
}

// exchange makes frames go both ways, and an announcement arrive.
func (g *logged) exchange(other *guest) {
	g.Helper()
	n := 3 + g.rnd.IntN(6)
	var there, here [][]byte
	g.stock(n)
	for range n {
		frame := g.frame(other.n, g.n)
		here = append(here, frame)
		other.send(frame)
	}
	other.reclaim()
	buffers, rings := g.does("receiving", func() { other.poll() })
	if buffers == 0 || rings == 0 {
		g.Fatalf("%d pages of buffers and %d of rings have changed by receiving", buffers, rings)
	}
	for _, frame := range here {
		g.gets(frame)
	}

	g.does("announcement", func() { other.port.RARP([6]byte{0x52, 0x54, 0, 7, 7, 7}) })
	if f, ok := g.receive(g.rx[0]); !ok || binary.BigEndian.Uint16(f.frame[12:]) != 0x8035 {
		g.Fatal("no announcement")
	}
	tx := g.tx[0]
	other.post(other.rx[0], n+1, 2000)
	g.does("announcement of this guest", func() {
		g.must(g.front.Do(vhostuser.SendRARP, append(make([]byte, 0, 8), 0x52, 0x54, 0, 8, 8, 8, 0, 0)))
	})

	for range n {
		frame := g.frame(g.n, other.n)
		there = append(there, frame)
		tx.offer(g, g.rnd.IntN(2) == 0, tx.cut(slices.Concat(g.header(), frame), g.rnd.IntN(200)+1, 50), nil)
		if g.rnd.IntN(8) == 0 {
			// A writable chain is not sent, and not written to.
			tx.offer(g, false, tx.cut(make([]byte, 100)), []buf{tx.Alloc(100)})
		}
	}
	tx.publish()
	buffers, rings = g.does("sending", func() { g.eachSource(func(s worker.Source) { s.Poll() }) })
	if buffers != 0 || rings == 0 {
		g.Fatalf("%d pages of buffers and %d of rings have changed by sending", buffers, rings)
	}
	if f, ok := other.receive(other.rx[0]); !ok || binary.BigEndian.Uint16(f.frame[12:]) != 0x8035 {
		g.Fatal("no announcement of this guest")
	}
	for _, frame := range there {
		other.gets(frame)
	}
	g.reclaim()

	_, rings = g.does("arming", func() { g.eachSource(func(s worker.Source) { s.Arm() }) })
	want := 1 // flags
	if g.cfg.features&(eventIdx|packed) == eventIdx {
		want = 2 // flags and avail_event
	}
	if rings != want {
		g.Fatalf("%d pages have changed by arming, want %d", rings, want)
	}
	g.does("disarming", func() { g.eachSource(func(s worker.Source) { s.Disarm() }) })
}

// restart stops and starts a ring.
func (g *logged) restart(index int) {
	g.Helper()
	g.does("restart", func() {
		r := g.front.Rings[index]
		base, err := g.front.StopRing(r)
		g.must(err)
		g.must(g.front.StartRingAt(r, base))
	})
}

// anew stops a ring and starts it like a driver that forgets all its chains, right before its index
// wraps. The next batch passes the end of the ring.
func (g *logged) anew(r *ring) {
	g.Helper()
	front := g.front.Rings[r.index]
	_, err := g.front.StopRing(front)
	g.must(err)
	r.Abandon(uint16(g.base(0xfffe)))
	clear(r.bufs)
	g.must(g.front.StartRing(front))
	g.log.Clear()
}

// loggedFeatures yields the features that affect what is written.
func loggedFeatures() map[string]uint64 {
	m := map[string]uint64{"legacy": indirect}
	for i := range 16 {
		name, features := "modern", uint64(version1|indirect)
		for j, f := range []uint64{mrgRxbuf, eventIdx, inOrder, packed} {
			if i>>j&1 != 0 {
				name += []string{",mergeable", ",event-idx", ",in-order", ",packed"}[j]
				features |= f
			}
		}
		m[name] = features
	}
	return m
}

// While frames go both ways and logging is switched on and off by its three switches, every written
// page is marked if it should be, and no other page ever is: of buffers, including the field
// num_buffers of their headers; and of the flags, entries, index and avail_event of used rings.
func TestLogHasExactlyWhatIsWritten(t *testing.T) {
	for name, features := range loggedFeatures() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			g, other := l.connectLogged(features), l.newGuest(guestConfig{size: 1024, memory: 4 << 20})
			for _, step := range []struct {
				what string
				do   func()
			}{
				{"nothing", func() {}},
				{"a log that is not used", g.setLog},
				{"buffers", func() { g.logAll(true) }},
				{"the receiveq's used ring", func() { g.logUsed(0, true) }},
				{"a restart of the receiveq", func() { g.restart(0) }},
				{"both used rings", func() { g.logUsed(1, true) }},
				{"a restart of the transmitq", func() { g.restart(1) }},
				{"another log", func() {
					old := g.log
					g.setLog()
					g.exchange(other)
					if pages := old.Dirty(); len(pages) != 0 {
						t.Errorf("pages %#x are marked in the log that was replaced", pages)
					}
				}},
				{"the transmitq's used ring", func() { g.logUsed(0, false) }},
				{"LOG_ALL off and a used ring on", func() { g.logAll(false) }},
				{"LOG_ALL on again", func() { g.logAll(true) }},
				{"buffers again", func() { g.logUsed(1, false) }},
				{"rings that begin anew", func() {
					g.logUsed(0, true)
					g.logUsed(1, true)
					g.anew(g.rx[0])
					g.anew(g.tx[0])
				}},
				{"nothing again", func() { g.logAll(false) }},
				{"all at the end", func() { g.logAll(true) }},
			} {
				step.do()
				for range 2 {
					g.exchange(other)
				}
				if t.Failed() {
					t.Fatalf("with %s", step.what)
				}
			}
			for _, g := range []*guest{g.guest, other} {
				drops := g.counters.DropsByName()
				maps.DeleteFunc(drops, func(name string, _ uint64) bool { return name == "bad-chain" })
				if len(drops) != 0 {
					t.Errorf("guest %d: drops %v", g.n, drops)
				}
			}
		})
	}
}

// fetch takes the marks from the log and copies the marked pages to there, as a front-end does. It
// returns the number of pages.
func (g *logged) fetch(there []byte) (pages int) {
	g.log.Take(func(addr uint64) {
		at := addr - g.data.Region.GuestAddr
		copy(there[at:at+pageSize], g.data.Bytes[at:])
		pages++
	})
	return pages
}

// A guest is migrated while it exchanges frames with another one. (Two attempts are cancelled.)
// Everything that the device has written arrives: each page is copied after the last write to it.
func TestMigrationUnderTraffic(t *testing.T) {
	for name, features := range loggedFeatures() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(1)
			g, other := l.connectLogged(features), l.connect(guestConfig{})
			var stop atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() { g.drive(2, &stop) })
			wg.Go(func() { other.drive(2, &stop) })
			defer wg.Wait()
			defer stop.Store(true)
			var there []byte // memory at the destination
			for n := range 3 {
				g.setLog()
				g.logUsed(0, true)
				g.logUsed(1, true)
				g.logAll(true)
				there = slices.Clone(g.data.Bytes)
				for pages := 0; pages < 300 && !t.Failed(); {
					pages += g.fetch(there)
				}
				if n < 2 {
					g.logAll(false)
				}
			}
			stop.Store(true)
			wg.Wait()
			for _, r := range g.front.Rings {
				_, err := g.front.StopRing(r)
				g.must(err)
			}
			g.fetch(there)
			// Pages that only the device writes to.
			var lost []uint64
			for _, p := range g.changed(there) {
				at := p - g.data.Region.GuestAddr
				inUsed := at < loggedBufs && at%loggedRing >= loggedUsed&^(pageSize-1) && at%loggedRing < loggedAvail
				inRecv := at >= loggedBufs && at < loggedBufs+loggedRecv
				if inUsed || inRecv {
					lost = append(lost, p)
				}
			}
			if len(lost) != 0 {
				t.Fatalf("pages %#x have not arrived unchanged", lost)
			}
		})
	}
}

// A page is marked after it has been written to: otherwise a front-end could copy it too early, and
// not again. The log vanishes, so that marking faults, and the frame has been written by then.
func TestFramesAreWrittenBeforeTheyAreMarked(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, sizes := range [][]int{{2000}, {10, 2, 20, 2000}, {100}} { // the last needs many
		l := newLab(t)
		g, other := l.connectLogged(modern), l.newGuest(guestConfig{})
		var bufs []buf // of all chains, in order
		for range 20 {
			had := g.rx[0].bufs
			g.rx[0].bufs = make(map[uint16][]buf)
			g.post(g.rx[0], 1, sizes...)
			for _, b := range g.rx[0].bufs {
				bufs = append(bufs, b...)
			}
			maps.Copy(g.rx[0].bufs, had)
		}
		g.setLog()
		g.logAll(true)
		g.must(g.log.Truncate(0))
		frame := other.frameTo(g.guest, 1000)
		other.send(frame)
		other.poll()
		if err := g.end(); !errors.Is(err, netport.ErrFault) {
			t.Fatal(err)
		}
		want, got := append(make([]byte, 10), 1, 0), []byte(nil)
		if n := sizes[0]; n == 100 {
			want[10] = 11 // 11 buffers of 100 bytes for 1000 bytes and the header
		}
		want = append(want, frame...)
		for _, b := range bufs {
			got = append(got, g.rx[0].Read(b)...)
		}
		if !bytes.Equal(got[:len(want)], want) {
			t.Errorf("buffers of %d bytes: memory contains %s, want %s", sizes, dump(got[:len(want)]), dump(want))
		}
	}
}
