package netport_test

import (
	"errors"
	"testing"

	"vswitchd/internal/worker"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
)

// While memory changes nobody is at any queue of the port, in either direction.
func TestQuiesceHoldsEveryQueue(t *testing.T) {
	p := newLab(t).newPort(guestConfig{queues: 3}).port
	resume := p.Quiesce()
	for i, l := range p.Locks() {
		if l.TryLock() {
			t.Errorf("ring %d is free", i)
			l.Unlock()
		}
	}
	resume()
	for i, l := range p.Locks() {
		if !l.TryLock() {
			t.Fatalf("ring %d is not free", i)
		}
		l.Unlock()
	}
}

// QEMU does not start a guest with more queue pairs than it is told of. Behind their rings there is
// the control queue, if its index can be named.
func TestQueuePairsOffered(t *testing.T) {
	for _, n := range []int{1, 3, netport.MaxQueues} {
		p := newLab(t).newPort(guestConfig{queues: n}).port
		if p.QueueNum() != uint64(n) || p.MaxVrings() != min(2*n+1, 256) || p.Features()&mq != 0 != (n > 1) {
			t.Errorf("%d queue pairs: %d, %d rings, features %#x", n, p.QueueNum(), p.MaxVrings(), p.Features())
		}
	}
}

// QEMU acknowledges all that is offered, and does not connect again if something that its
// guest has acknowledged is missing: nothing may come or go unnoticed.
func TestFeaturesOffered(t *testing.T) {
	const (
		always   = ctrlAll | mrgRxbuf | 1<<16 | 1<<24 | 1<<27 | indirect | eventIdx | version1 | packed | inOrder // 16 STATUS, 24 NOTIFY_ON_EMPTY, 27 ANY_LAYOUT
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

// The header has num_buffers with each of the features that bring it, and not else.
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

// Memory that has gone is found by the session's own goroutine, when it announces a guest
// to others and when it disables a queue. That costs the guest whose memory it was its
// session, and nobody else anything.
func TestMemoryHasGoneWhereTheSessionLooks(t *testing.T) {
	for what, look := range map[string]func(a, b *guest){
		"announcement": func(a, b *guest) {
			done := make(chan struct{})
			go func() { // whose faults are fatal unless it has said otherwise
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

// After a crash front-ends may name any base: the port goes on from the used index, and
// sends nothing twice.
func TestPortGoesOnFromTheUsedIndex(t *testing.T) {
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
	g.must(g.front.StartRingAt(r, 0xfff0)) // where it once began
	g.eachSource(func(s worker.Source) { s.Poll() })
	other.getsNothing()
	frame := g.frameTo(other, 60)
	g.send(frame)
	g.eachSource(func(s worker.Source) { s.Poll() })
	other.gets(frame)
	other.getsNothing()
}
