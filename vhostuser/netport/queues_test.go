package netport_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Headers between stations 1 and 2, or back: from the Ethernet type on.
var flows = map[string]func(back bool) []byte{
	"Ethernet": func(bool) []byte { return []byte{0x88, 0xb5} },
	"TCP over IPv4": func(back bool) []byte {
		return ipv4(back, 6, 0)
	},
	"UDP over IPv4, tagged": func(back bool) []byte {
		return append([]byte{0x81, 0, 0, 5}, ipv4(back, 17, 0)...)
	},
	"first fragment": func(back bool) []byte { return ipv4(back, 17, 0x20) },
	"GRE over IPv4":  func(back bool) []byte { return ipv4(back, 47, 0) },
	"TCP over IPv6":  func(back bool) []byte { return ipv6(back, 6) },
	"ICMPv6":         func(back bool) []byte { return ipv6(back, 58) },
}

func order[T any](back bool, a, b []T) []T {
	if back {
		a, b = b, a
	}
	return append(append([]T{}, a...), b...)
}

func ipv4(back bool, proto, fragment byte) []byte {
	b := []byte{8, 0, 0x45, 0, 0, 60, 0, 0, fragment, 0, 64, proto, 0, 0}
	b = append(b, order(back, []byte{10, 0, 0, 1}, []byte{192, 168, 7, 9})...)
	return append(b, order(back, []byte{0x12, 0x34}, []byte{0, 80})...)
}

func ipv6(back bool, proto byte) []byte {
	b := []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, proto, 64}
	b = append(b, order(back, []byte{0xfd, 15: 1}, []byte{0xfd, 7, 15: 9})...)
	return append(b, order(back, []byte{0x12, 0x34}, []byte{0, 80})...)
}

// queueOf returns the receiveq on which a guest receives its only frame.
func (g *guest) queueOf() int {
	g.Helper()
	for i, r := range g.rx {
		if _, ok := g.receive(r); ok {
			g.getsNothing()
			return i
		}
	}
	g.Fatal("no frame")
	return 0
}

// The frames of a flow, in both directions, go to the queue with the same number.
func TestFlowsAreSymmetric(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{queues: 7})
	b := l.newGuest(guestConfig{queues: 7})
	for _, g := range l.guests {
		for _, r := range g.rx {
			g.post(r, 100, 1500)
		}
	}
	for name, headers := range flows {
		there := append(a.frameTo(b, 14)[:12], headers(false)...)
		back := append(b.frameTo(a, 14)[:12], headers(true)...)
		for range 3 {
			// The bytes after the headers make no difference.
			a.send(append(there, make([]byte, 10+rand.IntN(1000))...))
			a.poll()
			b.send(append(back, make([]byte, 10+rand.IntN(1000))...))
			b.poll()
			if i, j := b.queueOf(), a.queueOf(); i != j {
				t.Errorf("%s: queue %d there, %d back", name, i, j)
			}
		}
	}
	// A fragment without ports goes to the same queue as one with ports.
	var queues []int
	for _, f := range [][]byte{{0x20, 0}, {0x20, 100}, {0, 200}} {
		frame := append(a.frameTo(b, 14)[:12], ipv4(false, 17, f[0])...)
		frame[21] = f[1]
		if f[1] != 0 {
			binary.BigEndian.PutUint32(frame[34:], rand.Uint32()) // data instead of ports
		}
		a.send(frame)
		a.poll()
		queues = append(queues, b.queueOf())
	}
	if queues[0] != queues[1] || queues[0] != queues[2] {
		t.Errorf("fragments of one datagram on queues %v", queues)
	}
}

// Many flows use all queues, and each flow's frames stay in order.
func TestFlowsAreSpread(t *testing.T) {
	const flows, rounds = 100, 20
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{queues: 4, size: 1024, memory: 4 << 20})
	for _, r := range b.rx {
		b.post(r, 1000, 300)
	}
	for i := range flows * rounds {
		f := append(a.frameTo(b, 14)[:12], ipv4(false, 6, 0)...)
		f[33] = byte(i % flows) // of the destination
		f = append(f, make([]byte, 20)...)
		f = binary.BigEndian.AppendUint32(f, uint32(i))
		a.send(f)
		if i%50 == 49 {
			a.poll()
			a.reclaim()
		}
	}
	a.poll()
	where := make(map[byte]int)
	total := 0
	for q, r := range b.rx {
		last := make(map[byte]uint32)
		n := 0
		for {
			f, ok := b.receive(r)
			if !ok {
				break
			}
			n++
			id, seq := f.frame[33], binary.BigEndian.Uint32(f.frame[len(f.frame)-4:])
			if was, ok := where[id]; ok && was != q {
				t.Fatalf("flow %d on queues %d and %d", id, was, q)
			}
			if was, ok := last[id]; ok && seq <= was {
				t.Fatalf("flow %d: frame %d after %d", id, seq, was)
			}
			where[id], last[id] = q, seq
		}
		if n < flows*rounds/8 {
			t.Errorf("queue %d got %d of %d frames", q, n, flows*rounds)
		}
		total += n
	}
	if total != flows*rounds {
		t.Errorf("%d frames, want %d", total, flows*rounds)
	}
	b.dropped(nil)
}

// Frames go to the enabled queues, however many there are.
func TestQueuesComeAndGo(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{queues: 3, disabled: true})
	for _, r := range b.rx {
		b.post(r, 30, 300)
	}
	got := func(want ...int) {
		t.Helper()
		if n := b.port.Receiving(); n != len(want) {
			t.Errorf("%d queues receive, want %d", n, len(want))
		}
		for id := range 10 {
			f := append(a.frameTo(b, 14)[:12], ipv4(false, 6, 0)...)
			f[33] = byte(id)
			a.send(f)
		}
		a.poll()
		n := 0
		for _, q := range want {
			for {
				if _, ok := b.receive(b.rx[q]); !ok {
					break
				}
				n++
			}
		}
		if n != 10 && len(want) > 0 {
			t.Errorf("%d frames on queues %v, want 10", n, want)
		}
		b.getsNothing()
	}
	got()
	b.port.RingEnabled(2, true)
	got(1)
	b.port.RingEnabled(0, true)
	b.port.RingEnabled(4, true)
	got(0, 1, 2)
	b.port.RingStopped(0)
	got(1, 2)
	b.port.RingEnabled(2, false)
	got(2)
	b.cfg.disabled = false
	b.run(b.rx[0])
	got(0, 2)
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropDown: 10})
	if kick, call := b.port.Notifications(); kick != 0 || call != 0 {
		t.Errorf("%d kicks and %d calls without eventfds", kick, call)
	}
}

// Frames on their way to a queue that is disabled or stopped just then go to another one.
func TestFramesFollowTheQueuesThatAreLeft(t *testing.T) {
	for name, end := range map[string]func(b *guest, index int){
		"disabled": func(b *guest, index int) { b.port.RingEnabled(index, false) },
		"stopped":  func(b *guest, index int) { b.port.RingStopped(index) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queues: 2})
			b.post(b.rx[1], 1, 300)
			late := b.port.TransmitLater() // to the first queue
			frame := a.frameTo(b, 60)
			end(b, 0)
			if n, _ := vswitchtest.Transmit(late, b.counters, &vswitch.Frame{Head: frame, Len: len(frame)}); n != 1 {
				t.Errorf("%d frames sent", n)
			}
			if f, ok := b.receive(b.rx[1]); !ok || !bytes.Equal(f.frame, frame) {
				t.Errorf("frame on the other queue: %v, %x", ok, f.frame)
			}
			b.dropped(nil)
		})
	}
}

// Linux's driver makes buffers available in the receiveqs that it adds some time after it has
// enabled them. Until then their frames go to the first one.
func TestQueueWithoutBuffersYet(t *testing.T) {
	add := map[string]func(b *guest){
		"enabled": func(b *guest) { b.port.RingEnabled(2, false); b.port.RingEnabled(2, true) },
		"started": func(b *guest) {},
	}
	for name, enable := range add {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queues: 2})
			enable(b)
			b.post(b.rx[0], 100, 300)
			flow := func(i int) []byte { // many flows: some are assigned to the second queue
				frame := append(a.frameTo(b, 14)[:12], ipv4(false, 17, 0)...)
				binary.BigEndian.PutUint16(frame[34:], uint16(i))
				return frame
			}
			exchange := func(n int) {
				for i := range n {
					a.send(flow(i))
					a.poll()
					a.reclaim()
				}
			}
			exchange(20)
			if n := b.countOn(0); n != 20 {
				t.Errorf("%d of 20 frames on the queue that has buffers", n)
			}
			b.dropped(nil)

			b.post(b.rx[1], 20, 300)
			exchange(20)
			first, second := b.countOn(0), b.countOn(1)
			if first+second != 20 || second == 0 {
				t.Errorf("%d and %d of 20 frames when both have buffers", first, second)
			}
			b.dropped(nil)

			// A queue that has had buffers and has none now is full.
			for range 20 {
				exchange(20)
				b.post(b.rx[0], b.countOn(0), 300)
			}
			if n := b.counters.Drops(vswitch.DropRingFull); n == 0 {
				t.Error("nothing was dropped by a queue whose buffers are used up")
			}
		})
	}
}

// A guest whose only receiveq has no buffers yet has a full ring.
func TestNoBuffersAtAll(t *testing.T) {
	l := newLab(t)
	a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{queues: 2})
	a.send(a.frameTo(b, 60))
	a.poll()
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 1})
}

// countOn takes all frames from a receiveq and returns their number.
func (g *guest) countOn(queue int) (n int) {
	for {
		if _, ok := g.receive(g.rx[queue]); !ok {
			return n
		}
		n++
	}
}

// A queue is removed from the receivers before it is disabled or stopped: a worker that finds it so
// can look for another one.
func TestQueueIsRemovedFromReceiversBeforeItIsDisabled(t *testing.T) {
	for name, end := range map[string]func(b *guest){
		"disabled": func(b *guest) { b.port.RingEnabled(0, false) },
		"stopped":  func(b *guest) { b.port.RingStopped(0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			b := l.newGuest(guestConfig{queues: 2})
			lock := b.port.Locks()[0] // of the first receiveq, whose state cannot change meanwhile
			lock.Lock()
			done := make(chan struct{})
			go func() {
				defer close(done)
				end(b)
			}()
			for deadline := time.Now().Add(10 * time.Second); b.port.Receiving() != 1 && !t.Failed(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Error("the queue is a receiver")
				}
			}
			lock.Unlock()
			<-done
		})
	}
}

// A worker is kicked when it has asked for that, and Arm reports chains that came before.
func TestKicks(t *testing.T) {
	for name, features := range map[string]uint64{"flags": modern, "event index": modern | eventIdx} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{features: features, eventfds: true})
			b := l.newGuest(guestConfig{})
			b.post(b.rx[0], 10, 300)
			src := a.sources[0]
			if src.FD() != a.tx[0].kick {
				t.Fatal("the source's FD is not the ring's kick")
			}
			kicks := func(want uint64) {
				t.Helper()
				if k, _ := a.port.Notifications(); k != want {
					t.Errorf("%d kicks counted, want %d", k, want)
				}
			}
			src.Disarm() // a worker begins like this, without a kick
			if src.Arm() {
				t.Error("pending chains in an empty ring")
			}
			kicks(0)
			a.send(a.frameTo(b, 60))
			if counted(a.tx[0].kick) != 1 {
				t.Error("no kick")
			}
			src.Disarm() // after the kick
			kicks(1)
			if !src.Arm() {
				t.Error("chains that came before Arm were not reported")
			}
			src.Disarm() // continue polling
			kicks(1)
			for range 3 { // the first one sets where the driver is to kick
				src.Poll()
				counted(a.tx[0].kick)
				a.send(a.frameTo(b, 60))
			}
			if counted(a.tx[0].kick) != 0 {
				t.Error("kicked while polling")
			}
			src.Poll()
			if src.Poll() != 0 || src.Arm() {
				t.Error("chains are left")
			}
			kicks(1)
			src.Disarm()
			kicks(2)
		})
	}
}

// A guest is signalled once for a batch, when it has asked for that.
func TestCalls(t *testing.T) {
	for name, features := range map[string]uint64{"flags": modern, "event index": modern | eventIdx} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{features: features, eventfds: true})
			b := l.newGuest(guestConfig{features: features, eventfds: true})
			b.post(b.rx[0], 100, 300)
			tx, rx := a.tx[0], b.rx[0]
			round := func(want uint64) {
				t.Helper()
				for range 10 {
					a.send(a.frameTo(b, 60))
				}
				a.poll()
				for range 10 {
					b.receive(rx)
				}
				a.reclaim()
				if n, m := counted(tx.call), counted(rx.call); n != want || m != want {
					t.Errorf("%d and %d signals, want %d", n, m, want)
				}
			}
			round(1) // signalled in any case: the driver may be waiting
			tx.Arm()
			rx.Arm()
			round(1)
			tx.Disarm()
			rx.Disarm()
			round(0)
			tx.Arm()
			rx.Arm()
			round(1)
			if _, calls := a.port.Notifications(); calls != 3 {
				t.Errorf("%d calls counted, want 3", calls)
			}
			// Without frames there is no signal.
			a.poll()
			if counted(tx.call)+counted(rx.call) != 0 {
				t.Error("signal without a frame")
			}
		})
	}
}
