package netport_test

import (
	"errors"
	"testing"

	"vswitchd/internal/worker"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
)

// While memory changes no goroutine uses any queue of the port, in either direction.
func TestQuiesceHoldsEveryQueue(t *testing.T) {
	p := newLab(t).newPort(guestConfig{queues: 3}).port
	resume := p.Quiesce()
	for i, l := range p.Locks() {
		if l.TryLock() {
			t.Errorf("ring %d is not locked", i)
			l.Unlock()
		}
	}
	resume()
	for i, l := range p.Locks() {
		if !l.TryLock() {
			t.Fatalf("ring %d is still locked", i)
		}
		l.Unlock()
	}
}

// QEMU does not start a guest with more queue pairs than QueueNum. The control queue follows their
// rings, if its index is within the range of messages.
func TestQueuePairsOffered(t *testing.T) {
	for _, n := range []int{1, 3, netport.MaxQueues} {
		p := newLab(t).newPort(guestConfig{queues: n}).port
		if p.QueueNum() != uint64(n) || p.MaxVrings() != min(2*n+1, 256) || p.Features()&mq != 0 != (n > 1) {
			t.Errorf("%d queue pairs: %d, %d rings, features %#x", n, p.QueueNum(), p.MaxVrings(), p.Features())
		}
	}
}

// QEMU acknowledges everything that is offered, and does not reconnect if a feature that its guest
// has acknowledged is missing: the offer must not change unnoticed.
func TestFeaturesOffered(t *testing.T) {
	const (
		// Bits 16, 24 and 27 are STATUS, NOTIFY_ON_EMPTY and ANY_LAYOUT.
		always   = ctrlAll | mrgRxbuf | 1<<16 | 1<<24 | 1<<27 | indirect | eventIdx | version1 | packed | inOrder
		protocol = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<9 | 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16
	)
	for name, c := range map[string]struct {
		cfg           guestConfig
		virtio, proto uint64
	}{
		"least":         {guestConfig{}, always, protocol},
		"several pairs": {guestConfig{queues: 2}, always | mq, protocol},
		"MTU":           {guestConfig{mtu: 9000}, always | featureMTU, protocol | 1<<4},
		"MAC":           {guestConfig{mac: ownMAC}, always | featureMAC, protocol},
		"csum":          {guestConfig{offloads: netport.OffloadCsum}, always | csum | guestCsum, protocol},
		"all offloads":  {guestConfig{offloads: netport.AllOffloads}, always | 0x3<<0 | 0xff<<7 | 0x7<<54, protocol},
	} {
		p := newLab(t).newPort(c.cfg).port
		p.Attach(nil)
		if got := p.Features(); got != c.virtio {
			t.Errorf("%s: features %#x, want %#x", name, got, c.virtio)
		}
		if got := p.ProtocolFeatures(); got != c.proto {
			t.Errorf("%s: protocol features %#x, want %#x", name, got, c.proto)
		}
	}
}

// The header has num_buffers with each of the features that imply it, and not otherwise.
func TestLengthOfHeader(t *testing.T) {
	for features, want := range map[uint64]int{indirect: 10, mrgRxbuf: 12, version1: 12, version1 | mrgRxbuf: 12, packed: 12} {
		l := newLab(t)
		g, other := l.newGuest(guestConfig{features: features}), l.newGuest(guestConfig{})
		g.hdrLen = want
		g.post(g.rx[0], 1, 2000)
		other.post(other.rx[0], 1, 2000)
		there, back := g.frameTo(other, 60), other.frameTo(g, 60)
		g.send(there)
		g.poll()
		other.gets(there)
		other.send(back)
		other.poll()
		g.gets(back)
	}
}

// The session's own goroutine finds that memory has vanished when it announces a guest to others
// and when it disables a queue. Only the guest whose memory it was loses its session.
func TestMemoryVanishesUnderTheSession(t *testing.T) {
	for what, look := range map[string]func(a, b *guest){
		"announcement": func(a, b *guest) {
			done := make(chan struct{})
			go func() { // whose faults are fatal unless it sets SetPanicOnFault
				defer close(done)
				a.port.RARP([6]byte{0x52, 0x54, 0, 9, 9, 9})
			}()
			<-done
		},
		"disabling": func(a, b *guest) {
			b.must(b.front.Send(vhostuser.SetVringEnable, 0, vhostuser.VringState{Index: 1}.AppendTo(nil)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLab(t)
			a, b := l.connect(guestConfig{}), l.connect(guestConfig{})
			b.post(b.rx[0], 4, 2000)
			for _, m := range b.front.Memory {
				b.must(m.Truncate(0))
			}
			look(a, b)
			if err := b.end(); !errors.Is(err, netport.ErrFault) {
				t.Fatal(err)
			}
			select {
			case err := <-a.ended:
				t.Fatalf("the other session has ended, too: %v", err)
			default:
			}
		})
	}
}

// After a crash front-ends may pass any base: the port continues from the used index, and
// sends nothing twice.
func TestPortContinuesFromTheUsedIndex(t *testing.T) {
	l := newLab(t)
	g, other := l.connectLogged(version1|mrgRxbuf|indirect), l.newGuest(guestConfig{})
	other.post(other.rx[0], 10, 2000)
	for range 3 {
		frame := g.frameTo(other, 60)
		g.send(frame)
		g.eachSource(func(s worker.Source) { s.Poll() })
		other.gets(frame)
	}
	g.reclaim()
	r := g.front.Rings[1]
	_, err := g.front.StopRing(r)
	g.must(err)
	g.must(g.front.StartRingAt(r, 0xfff0)) // the initial base
	g.eachSource(func(s worker.Source) { s.Poll() })
	other.getsNothing()
	frame := g.frameTo(other, 60)
	g.send(frame)
	g.eachSource(func(s worker.Source) { s.Poll() })
	other.gets(frame)
	other.getsNothing()
}
