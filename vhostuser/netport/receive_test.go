package netport_test

import (
	"fmt"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/virtqueue/virtqueuetest"
)

// With MRG_RXBUF a frame fills as many buffers as necessary, and num_buffers contains their number.
func TestMergeableBuffers(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int // of the pieces of each chain
	}{
		{"1526", []int{1526}},
		{"4096", []int{4096}},
		{"65562", []int{65562}},
		{"header's size", []int{12}},
		{"less than the header", []int{5}},
		{"in two pieces", []int{12, 1514}},
		{"in three pieces", []int{3, 9, 500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{})
			b := l.newGuest(guestConfig{size: 4096, memory: 8 << 20})
			room := 0
			for _, s := range c.sizes {
				room += s
			}
			posted := 0
			for _, n := range sizesOfFrames() {
				want := (n + 12 + room - 1) / room
				if want > 1000 {
					continue
				}
				b.post(b.rx[0], max(0, want+2-posted), c.sizes...) // some more than necessary
				posted = max(posted, want+2) - want
				frame := a.frameTo(b, n)
				a.send(frame, 700)
				a.poll()
				a.reclaim()
				if f := b.gets(frame); f.buffers != want {
					t.Errorf("%d bytes in %d buffers, want %d", n, f.buffers, want)
				}
			}
			b.getsNothing()
			b.dropped(nil)
		})
	}
}

// Without MRG_RXBUF a frame has to fit into one chain. A frame that does not is dropped, and the
// chain is available for the next one.
func TestBuffersThatAreNotMergeable(t *testing.T) {
	for name, features := range map[string]uint64{"legacy": indirect, "1.0": indirect | version1} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{})
			b := l.newGuest(guestConfig{features: features})
			b.post(b.rx[0], 1, 1514+b.hdrLen)
			b.post(b.rx[0], 1, 12, 500, 500)
			fits := func(n int) {
				t.Helper()
				f := a.frameTo(b, n)
				a.send(f)
				a.poll()
				b.gets(f)
			}
			tooLong := func(n int) {
				t.Helper()
				a.send(a.frameTo(b, n))
				a.poll()
				b.getsNothing()
			}
			tooLong(1515)
			tooLong(65000)
			fits(1514)
			tooLong(1514)
			tooLong(1013 - b.hdrLen)
			fits(1012 - b.hdrLen)
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropNoFit: 4})
		})
	}
}

// A frame that is longer than all of the ring's buffers together never fits; one for which there is
// no room now finds the ring full.
func TestNoFitOrFull(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{size: 8})
	b.post(b.rx[0], 7, 100)
	a.send(a.frameTo(b, 789)) // 801 bytes with the header: never fits
	a.send(a.frameTo(b, 788)) // fits with one more buffer
	a.poll()
	// It takes all 8 buffers to find out.
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 2})
	b.post(b.rx[0], 1, 100)
	a.send(a.frameTo(b, 789))
	fits := a.frameTo(b, 788)
	a.send(fits)
	a.poll()
	b.gets(fits)
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 2, vswitch.DropNoFit: 1})
}

// A guest that does not receive loses its frames; the sender does not wait, and its
// buffers are returned.
func TestFullRingDoesNotStopTheSender(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{})
	c := l.newGuest(guestConfig{})
	b.post(b.rx[0], 3, 1500)
	c.post(c.rx[0], 100, 1500)
	var sent [][]byte
	for range 10 {
		for _, to := range []*guest{b, c} {
			f := a.frameTo(to, 100)
			if to == c || len(sent) < 3 {
				sent = append(sent, f)
			}
			a.send(f)
		}
	}
	a.poll()
	if n := a.reclaim(); n != 20 {
		t.Fatalf("%d chains were returned, want 20", n)
	}
	b.gets(sent[0])
	b.gets(sent[2])
	for range 10 {
		if _, ok := c.receive(c.rx[0]); !ok {
			t.Fatal("a frame for another guest was lost")
		}
	}
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 7})
	c.dropped(nil)
}

// A batch may need more pieces of memory than are popped at once, and ends at a limit of bytes.
func TestBatchOfManyBuffers(t *testing.T) {
	const most = 1 << 20
	l := newLab(t)
	a := l.newGuest(guestConfig{memory: 10 << 20})
	b := l.newGuest(guestConfig{size: 4096, memory: 10 << 20})
	b.post(b.rx[0], 4000, 1526)
	var sent [][]byte
	for range vswitch.MaxBatch {
		f := a.frameTo(b, 65000)
		sent = append(sent, f)
		a.send(f)
	}
	for left := vswitch.MaxBatch; left > 0; {
		n := a.sources[0].Poll()
		if n == 0 || n > (most+64999)/65000 {
			t.Fatalf("%d chains in one batch, %d are left", n, left)
		}
		left -= n
	}
	for _, f := range sent {
		b.gets(f)
	}
	b.dropped(nil)
}

// breakChain makes a chain of a receiveq invalid for receiving frames.
var breakChain = map[string]func(b *guest, r *ring) uint16{
	"readable": func(b *guest, r *ring) uint16 { return r.offer(b, false, []buf{r.Alloc(100)}, nil) },
	"readable and writable": func(b *guest, r *ring) uint16 {
		return r.offer(b, false, []buf{r.Alloc(100)}, []buf{r.Alloc(2000)})
	},
	"nowhere": func(b *guest, r *ring) uint16 {
		h := r.offer(b, false, nil, []buf{r.Alloc(2000)})
		d := r.Desc(h)
		d.Addr = 0xdead_0000_0000
		r.SetDesc(h, d)
		return h
	},
	"loop": func(b *guest, r *ring) uint16 {
		h := r.offer(b, false, nil, []buf{r.Alloc(2000)})
		d := r.Desc(h)
		d.Flags |= virtqueuetest.FlagNext
		d.Next = h
		r.SetDesc(h, d)
		return h
	},
}

// used takes all entries of a used ring.
func (r *ring) used() (entries [][2]uint32) {
	for {
		head, n, ok := r.PollUsed()
		if !ok {
			return entries
		}
		entries = append(entries, [2]uint32{uint32(head), n})
	}
}

// Invalid chains of a receiveq are completed with length 0, once, wherever they are between valid
// ones, together with the chains before them that were meant for the same frame.
func TestBadChainsInReceiveq(t *testing.T) {
	for name, offerBad := range breakChain {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{})
			b := l.newGuest(guestConfig{})
			r := b.rx[0]
			good := func() uint16 { return r.offer(b, false, nil, []buf{r.Alloc(100)}) }

			// A frame that needs 3 buffers meets two invalid chains, the second
			// one after it has found 2 valid ones; another frame takes the
			// chains after that.
			var want [][2]uint32
			add := func(head uint16, n uint32) { want = append(want, [2]uint32{uint32(head), n}) }
			add(offerBad(b, r), 0)
			add(good(), 0)
			add(good(), 0)
			add(offerBad(b, r), 0)
			add(good(), 100)
			add(good(), 100)
			add(good(), 100)
			add(offerBad(b, r), 0)
			add(good(), 92)
			left := good()
			r.Publish()
			a.send(a.frameTo(b, 288))
			a.send(a.frameTo(b, 80))
			a.poll()
			if got := r.used(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("used\n%v, want\n%v", got, want)
			}
			b.dropped(nil)
			if n := b.port.Rings()[0].BadChains; n != 3 {
				t.Errorf("%d invalid chains counted, want 3", n)
			}
			if b.counters.TxFrames.Load() != 2 || b.counters.TxBytes.Load() != 368 {
				t.Errorf("counted %d frames, %d bytes", b.counters.TxFrames.Load(), b.counters.TxBytes.Load())
			}

			// A ring with only invalid chains is full.
			last := offerBad(b, r)
			r.Publish()
			a.send(a.frameTo(b, 288))
			a.poll()
			if got, want := fmt.Sprint(r.used()), fmt.Sprint([][2]uint32{{uint32(left), 0}, {uint32(last), 0}}); got != want {
				t.Errorf("used %v, want %v", got, want)
			}
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 1})
		})
	}
}

// The cost of one group of frames is bounded, however many invalid chains there are: otherwise a
// driver that makes them faster than they are processed would occupy the worker forever.
func TestBadChainsAreBounded(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{})
	r := b.rx[0]
	for range 200 {
		breakChain["readable"](b, r)
	}
	b.post(r, 10, 1500)
	total := 0
	for i := 0; ; i++ {
		frame := a.frameTo(b, 100)
		a.send(frame)
		a.poll()
		used := r.used()
		total += len(used)
		if n := len(used); n > vswitch.MaxBatch+1 {
			t.Fatalf("%d invalid chains for one frame", n)
		}
		if total == 201 {
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: uint64(i)})
			return
		}
		if i > 200 {
			t.Fatal("invalid chains stay in the ring")
		}
	}
}

// A receiveq that is disabled, or not running, delivers nothing.
func TestDisabledReceiveq(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{disabled: true})
	b.post(b.rx[0], 2, 1500)
	frame := a.frameTo(b, 100)
	a.send(frame)
	a.poll()
	b.getsNothing()
	b.port.RingEnabled(0, true)
	a.send(frame)
	a.poll()
	b.gets(frame)
	b.port.RingEnabled(0, false)
	a.send(frame)
	a.poll()
	b.getsNothing()
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropDown: 2})
}

// A worker that has chosen a receiveq before the queue is disabled or stopped does not
// use it any more.
func TestDisabledIsInEffectAtOnce(t *testing.T) {
	for name, end := range map[string]func(b *guest){
		"disabled": func(b *guest) { b.port.RingEnabled(0, false) },
		"stopped":  func(b *guest) { b.port.RingStopped(0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			b := l.newGuest(guestConfig{})
			b.post(b.rx[0], 2, 1500)
			late := b.port.TransmitLater()
			end(b)
			f := vswitch.Frame{Head: frameBetween(5, b.n, 60), Len: 60}
			if n, _ := vswitchtest.Transmit(late, b.counters, &f); n != 0 {
				t.Error("frame was sent")
			}
			b.getsNothing()
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropDown: 1})
		})
	}
}
