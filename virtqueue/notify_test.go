package virtqueue_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Tests of notifications in both directions.

// After a start the driver is signalled once, whatever it asks for: it may have been waiting for a
// device that was not there.
func TestSignalOnceAfterStart(t *testing.T) {
	for _, features := range []uint64{0, eventIdx, packed, packed | eventIdx} {
		g := newGuest(t, 8, features)
		g.Disarm()
		g = start(t, g.Driver)
		g.q.SetCall(eventfd(t))
		for i := range 3 {
			g.q.Flush()
			if n := g.q.Calls(); n != 1 {
				t.Fatalf("features %#x: %d signals after %d flushes of nothing", features, n, i+1)
			}
		}
		must(g.AddChain([]buf{g.Alloc(8)}, nil))
		g.Publish()
		g.q.Complete(&g.pop(t, 1)[0], 0)
		g.q.Flush()
		if n := g.q.Calls(); n != 1 {
			t.Fatalf("features %#x: signalled a driver that suppressed signals", features)
		}
	}
}

// The signal that is due after a start is sent once there is an eventfd.
func TestSignalAfterLateCall(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.Disarm()
	g = start(t, g.Driver)
	g.q.Flush()
	g.q.Complete(named(0), 0)
	g.q.Flush()
	g.q.Signal()
	if g.q.Calls() != 0 {
		t.Fatal("counted a signal that was not sent")
	}
	fd := eventfd(t)
	g.q.SetCall(fd)
	g.q.Flush()
	g.q.Flush()
	if n := g.q.Calls(); n != 1 || count(t, fd) != 1 {
		t.Fatal(n, "signals")
	}
}

// count returns how many times an eventfd was signalled since the last call.
func count(t *testing.T, fd int) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err == unix.EAGAIN {
		return 0
	} else if err != nil {
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

// A driver that ignores its eventfd cannot block us.
func TestSignalToFullEventfd(t *testing.T) {
	g := newGuest(t, 8, 0)
	fd := eventfd(t)
	full := binary.NativeEndian.AppendUint64(nil, 1<<64-2)
	if _, err := unix.Write(fd, full); err != nil {
		t.Fatal(err)
	}
	g.q.SetCall(fd)
	g.q.Signal()
	g.q.Flush()
	if n := count(t, fd); n != 1<<64-2 {
		t.Fatal(n)
	}
}

func TestNoInterruptFlag(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.q.SetCall(eventfd(t))
	g.q.Signal()
	flush := func() (signalled bool) {
		n := g.q.Calls()
		g.q.Complete(named(0), 0)
		g.q.Complete(named(0), 0)
		g.q.Flush()
		return g.q.Calls() != n
	}
	for _, flags := range []uint16{0, 1, 0xffff, 0xfffe, 2} {
		g.SetAvail(flags, 0)
		g.SetUsedEvent(g.q.UsedIdx() + 100) // must not matter
		if got, want := flush(), flags&1 == 0; got != want {
			t.Errorf("flags %#x: signalled is %t", flags, got)
		}
	}
	// Nothing completed, no signal.
	g.SetAvail(0, 0)
	n := g.q.Calls()
	g.q.Flush()
	if g.q.Calls() != n {
		t.Error("signalled for nothing")
	}
}

// With EVENT_IDX the driver asks for a signal when the entry at used_event becomes used, and the
// flags do not matter (2.7.7.2).
func TestUsedEvent(t *testing.T) {
	const size = 256
	fd := eventfd(t)
	for _, n := range []int{1, 2, 64, size} {
		for _, was := range []uint16{0, 1, 0x7fff, 0x8000, 0xffff, uint16(-n), uint16(1 - n), uint16(-1 - n)} {
			g := newGuest(t, size, eventIdx)
			g.Abandon(was)
			g.SetAvail(1, was) // must not matter
			for ev := range 0x10000 {
				if ev > 3*size && ev%251 != 0 {
					continue // far from any boundary
				}
				event := was + uint16(ev) - size
				g.SetUsed(0, was)
				q, err := virtqueue.New(g.Memory(), g.Config())
				if err != nil {
					t.Fatal(err)
				}
				q.SetCall(fd)
				q.Signal()
				g.SetUsedEvent(event)
				for range n {
					q.Complete(named(0), 0)
				}
				q.Flush()
				want := false
				for i := range uint16(n) {
					want = want || was+i == event
				}
				if got := q.Calls() == 2; got != want {
					t.Fatalf("%d entries from %d, used_event %d: signalled is %t", n, was, event, got)
				}
			}
		}
	}
}

// One queue through all 16-bit indices and more, in batches of all sizes: each event is signalled
// once, by the flush that publishes its entry.
func TestUsedEventOverManyBatches(t *testing.T) {
	g := newGuest(t, 256, eventIdx)
	g.q.SetCall(eventfd(t))
	g.q.Signal()
	for i := range 3000 {
		n := i*7%256 + 1
		was := g.q.UsedIdx()
		event := was + uint16(i*13%512) - 128
		g.SetUsedEvent(event)
		calls := g.q.Calls()
		for range n {
			g.q.Complete(named(0), 0)
		}
		g.q.Flush()
		if got, want := g.q.Calls() != calls, event-was < uint16(n); got != want {
			t.Fatalf("%d entries from %d, used_event %d: signalled is %t", n, was, event, got)
		}
	}
}

func TestArmAndDisarm(t *testing.T) {
	for _, features := range []uint64{0, eventIdx} {
		t.Run(fmt.Sprintf("features=%#x", features), func(t *testing.T) {
			g := newGuest(t, 8, features)
			g.SetDesc(0, desc{g.Alloc(8).Addr, 8, 0, 0})
			take := func() {
				g.b.Reset()
				if _, err := g.q.Pop(g.b, 64); err != nil {
					t.Fatal(err)
				}
			}
			for round := range 70000 / 3 { // more than 16 bits of chains
				if g.q.Arm() {
					t.Fatal("pending chains on an empty ring")
				}
				g.Offer(0)
				if !g.Publish() {
					t.Fatal("armed, but no kick is requested")
				}
				take()
				g.q.Disarm()
				// Chains become available while kicks are suppressed: Arm
				// has to find them.
				g.Offer(0)
				g.Publish()
				g.Offer(0)
				if g.Publish() && features == 0 {
					t.Fatal("disarmed, but a kick is requested")
				}
				if !g.q.Arm() {
					t.Fatal(round, "armed, but missed earlier chains")
				}
				take()
			}
		})
	}
}

// With EVENT_IDX a batch costs one kick, although flags stay 0 (2.7.10.1).
func TestAvailEventSuppresses(t *testing.T) {
	g := newGuest(t, 256, eventIdx)
	g.SetDesc(0, desc{g.Alloc(8).Addr, 8, 0, 0})
	g.q.Arm()
	kicks := 0
	for range 200 {
		g.Offer(0)
		if g.Publish() {
			kicks++
		}
		g.q.Disarm()
	}
	if flags, _ := g.Used(); flags != 0 || kicks != 1 {
		t.Fatal(flags, kicks)
	}
	// Publishing must not change avail_event, nor the bytes after it.
	g.q.Complete(named(0), 0)
	g.q.Flush()
	if g.AvailEvent() != 0 {
		t.Fatal(g.AvailEvent())
	}
}

// avail_event is the last word of its area: the memory after it does not belong to the device.
func TestAvailEventIsTheLastWord(t *testing.T) {
	mem := make([]byte, 0x1000)
	cfg, end := virtqueuetest.Layout(8, ringsAt)
	cfg.Features = eventIdx
	drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: mem}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, drv)
	for i := end - ringsAt; i < uint64(len(mem)); i++ {
		mem[i] = 0xa5
	}
	g.SetDesc(0, desc{0x800, 8, 0, 0})
	for range 300 {
		g.Offer(0)
		g.Publish()
		g.b.Reset()
		g.q.Pop(g.b, 1)
		g.q.Complete(named(0), 0)
		g.q.Flush()
		g.q.Arm()
		g.q.Disarm()
	}
	if g.AvailEvent() != 300 {
		t.Fatal(g.AvailEvent())
	}
	for i := end - ringsAt; i < uint64(len(mem)); i++ {
		if mem[i] != 0xa5 {
			t.Fatalf("byte %d after the used ring was written", i-(end-ringsAt))
		}
	}
}

// Publishing keeps the flag that was set, and setting the flag keeps the index.
func TestFlagAndIndexShareAWord(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.q.Disarm()
	g.q.Complete(named(1), 0)
	g.q.Flush()
	if flags, idx := g.Used(); flags != 1 || idx != 1 {
		t.Fatal(flags, idx)
	}
	g.q.Complete(named(1), 0) // must not be published by Arm or Disarm
	g.q.Arm()
	if flags, idx := g.Used(); flags != 0 || idx != 1 {
		t.Fatal(flags, idx)
	}
	g.q.Disarm()
	if flags, idx := g.Used(); flags != 1 || idx != 1 {
		t.Fatal(flags, idx)
	}
}

// Both sides sleep whenever they can, each in its own goroutine. A single lost notification in
// either direction makes them sleep forever.
func TestNoLostWakeup(t *testing.T) {
	for _, size := range []int{1, 2, 64} {
		for features, name := range everyFormat() {
			if size == 1 && features&indirect == 0 {
				continue // a request takes two descriptors
			}
			t.Run(fmt.Sprintf("size=%d/%s", size, name), func(t *testing.T) {
				const chains = 3000
				g := newGuest(t, size, features)
				kick, call := eventfd(t), eventfd(t)
				g.q.SetCall(call)
				var wg sync.WaitGroup
				wg.Go(func() { echo(t, g.q, kick, chains) })
				wg.Go(func() { ask(t, g.Driver, kick, call, chains) })
				wg.Wait()
			})
		}
	}
}

// sleep waits for an eventfd. The time limit only turns a hang into a failure.
func sleep(t *testing.T, fd int) bool {
	deadline := time.Now().Add(30 * time.Second)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 1000)
		if err != nil && err != unix.EINTR {
			t.Error(err)
			return false
		}
		if n == 1 {
			var b [8]byte
			unix.Read(fd, b[:])
			return true
		}
		if time.Now().After(deadline) {
			t.Error("asleep forever")
			return false
		}
	}
}

// echo is a device that copies the readable value, plus one, to the writable buffer.
func echo(t *testing.T, q *virtqueue.Queue, kick, chains int) {
	b := virtqueue.NewBatch(8)
	for done := 0; done < chains; {
		b.Reset()
		n, err := q.Pop(b, 8)
		if err != nil {
			t.Error(err)
			return
		}
		if n == 0 {
			if !q.Arm() && !sleep(t, kick) {
				return
			}
			q.Disarm()
			continue
		}
		for _, c := range b.Chains {
			if c.Err != nil {
				t.Error(c.Err)
				return
			}
			v := binary.LittleEndian.Uint32(c.Readable[0])
			binary.LittleEndian.PutUint32(c.Writable[0], v+1)
			q.Complete(&c, 4)
		}
		q.Flush()
		done += n
	}
}

// ask is a driver that keeps the ring as full as possible.
func ask(t *testing.T, d *virtqueuetest.Driver, kick, call, chains int) {
	type request struct {
		v       uint32
		in, out buf
	}
	pending := map[uint16]request{}
	add := d.AddChain
	if d.Config().Features&indirect != 0 {
		add = d.AddIndirect
	}
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	for sent, got := 0, 0; got < chains; {
		for sent < chains && len(pending) < d.Config().Size {
			r := request{uint32(sent), d.Alloc(4), d.Alloc(4)}
			binary.LittleEndian.PutUint32(d.Bytes(r.in), r.v)
			head, err := add([]buf{r.in}, []buf{r.out})
			if err != nil {
				d.FreeBuf(r.in, r.out)
				break
			}
			pending[head] = r
			sent++
		}
		if d.Publish() {
			unix.Write(kick, one)
		}
		head, n, ok := d.PollUsed()
		if !ok {
			if !d.Arm() && !sleep(t, call) {
				return
			}
			d.Disarm()
			continue
		}
		r, ok := pending[head]
		if v := binary.LittleEndian.Uint32(d.Bytes(r.out)); !ok || n != 4 || v != r.v+1 {
			t.Errorf("chain %d was returned with %d bytes, value %d instead of %d", head, n, v, r.v+1)
			return
		}
		delete(pending, head)
		d.Release(head)
		d.FreeBuf(r.in, r.out)
		got++
	}
}
