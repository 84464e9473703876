package netport_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// sizesOfFrames are lengths of frames around all limits that the code distinguishes.
func sizesOfFrames() []int {
	sizes := []int{14, 15, 59, 60, 64}
	for _, around := range []int{vswitch.HeadLen, vswitch.HeadMax, 1514, 2048, 4096, 9014, vswitch.MaxFrameLen - 1} {
		sizes = append(sizes, around-1, around, around+1)
	}
	return sizes
}

// Frames of all lengths arrive unchanged, whatever pieces they were sent in.
func TestContentArrives(t *testing.T) {
	// Where header and data are divided into descriptors; the last one has the rest.
	cuts := map[string][]int{
		"in one":             nil,
		"header alone":       {12},
		"legacy header":      {10},
		"header split":       {5},
		"header in three":    {1, 1},
		"bytes":              {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		"header and address": {18},
		"header and head":    {12 + vswitch.HeadLen},
		"head split":         {12 + 20, vswitch.HeadLen - 21},
		"head alone":         {12, vswitch.HeadLen},
		"tail alone":         {12, vswitch.HeadLen + 1, 100},
		"pages":              {12, 4096, 4096, 4096, 4096, 4096, 4096},
	}
	for name, features := range map[string]uint64{"legacy": indirect, "modern": modern} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/indirect=%t", name, table), func(t *testing.T) {
				l := newLab(t)
				a := l.newGuest(guestConfig{features: features})
				b := l.newGuest(guestConfig{})
				for cut, sizes := range cuts {
					for _, n := range sizesOfFrames() {
						frame := a.frameTo(b, n)
						r := a.tx[0]
						r.offer(a, table, r.cut(slices.Concat(a.header(), frame), sizes...), nil)
						r.Publish()
						b.post(b.rx[0], 1, n+12)
						if a.poll() != 1 || a.reclaim() != 1 {
							t.Fatalf("%s, %d bytes: the chain was not completed", cut, n)
						}
						b.gets(frame)
					}
				}
				a.dropped(nil)
				b.dropped(nil)
			})
		}
	}
}

// Every single cut of a short frame, and every pair of cuts around the end of the header, makes no
// difference to the receiver.
func TestEveryCut(t *testing.T) {
	for name, features := range map[string]uint64{"legacy": indirect, "modern": modern} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{features: features})
			b := l.newGuest(guestConfig{})
			frame := a.frameTo(b, 200)
			try := func(sizes ...int) {
				t.Helper()
				a.send(frame, sizes...)
				b.post(b.rx[0], 1, 300)
				a.poll()
				a.reclaim()
				b.gets(frame)
			}
			for i := 1; i < a.hdrLen+len(frame); i++ {
				try(i)
			}
			for i := 1; i < 30; i++ {
				for j := 1; j < 30; j++ {
					try(i, j)
				}
			}
		})
	}
}

// The header from one guest is passed to the other unchanged, if the other has negotiated its
// offloads.
func TestHeaderPassesUnchanged(t *testing.T) {
	l := newLab(t)
	offloads := uint64(csum | guestCsum | guestTSO4 | hostTSO4)
	a := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	b := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	frame := tcp4(a, b, 4000)
	// NEEDS_CSUM, TSOv4, hdr_len 54, gso_size 1460, csum_start 34, csum_offset 16
	header := []byte{1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0xaa, 0xaa}
	r := a.tx[0]
	r.offer(a, false, r.cut(slices.Concat(header, frame)), nil)
	r.Publish()
	b.post(b.rx[0], 1, 5000)
	a.poll()
	got := b.gets(frame)
	copy(header[10:], []byte{1, 0}) // num_buffers
	if !slices.Equal(got.header, header) {
		t.Errorf("header %x, want %x", got.header, header)
	}
}

// A driver that has not negotiated CSUM asks for nothing, whatever its headers contain: in one
// piece with the frame, or not.
func TestHeaderWithoutOffloadsIsIgnored(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{offloads: netport.AllOffloads})
	b := l.newGuest(guestConfig{features: modern | netport.AllOffloads, offloads: netport.AllOffloads})
	r := a.tx[0]
	for _, header := range [][]byte{
		{1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0}, // to be segmented
		bytes.Repeat([]byte{0xff}, 12),
	} {
		for _, sizes := range [][]int{nil, {12}} {
			frame := tcp4(a, b, 4000)
			r.offer(a, false, r.cut(slices.Concat(header, frame), sizes...), nil)
			r.Publish()
			b.post(b.rx[0], 1, 5000)
			a.poll()
			if got := b.gets(frame); !slices.Equal(got.header, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}) {
				t.Errorf("header %x arrives as %x", header, got.header)
			}
		}
	}
	a.dropped(nil)
}

// tcp4 returns a frame with an IPv4 and a TCP header whose checksums are not filled in.
func tcp4(from, to *guest, n int) []byte {
	f := from.frameTo(to, n)
	copy(f[12:], []byte{8, 0, 0x45, 0, byte((n - 14) >> 8), byte(n - 14), 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	copy(f[34:], []byte{0, 80, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10})
	return f
}

// A frame that is shorter than an Ethernet header, or longer than any frame, is dropped and
// counted, and so is a chain no longer than the header.
func TestLengthsThatAreNoFrames(t *testing.T) {
	for name, features := range map[string]uint64{"legacy": indirect, "modern": modern} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{features: features})
			b := l.newGuest(guestConfig{})
			b.post(b.rx[0], 4, 1500)
			r := a.tx[0]
			short := 0
			for n := 1; n < a.hdrLen+14; n++ {
				r.offer(a, false, r.cut(make([]byte, n)), nil)
				r.offer(a, false, r.cut(make([]byte, n), 1), nil)
				short += 2
			}
			for range 3 {
				r.offer(a, false, r.cut(make([]byte, a.hdrLen+vswitch.MaxFrameLen+1)), nil)
			}
			r.Publish()
			a.poll()
			if n := a.reclaim(); n != short+3 {
				t.Errorf("%d chains were returned, want %d", n, short+3)
			}
			a.dropped(map[vswitch.DropReason]uint64{vswitch.DropTooShort: uint64(short), vswitch.DropTooLong: 3})
			b.getsNothing()
			if n := a.counters.RxFrames.Load(); n != 0 {
				t.Errorf("%d frames received", n)
			}
		})
	}
}

// An invalid chain among valid ones is completed, and does not affect them.
func TestBadChainsInTransmitq(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{})
	b.post(b.rx[0], 8, 1500)
	r := a.tx[0]
	frame := a.frameTo(b, 100)

	a.send(frame)
	// Device-writable parts are invalid here.
	r.offer(a, false, r.cut(slices.Concat(a.header(), frame)), []buf{r.Alloc(16)})
	r.offer(a, false, nil, []buf{r.Alloc(16)})
	// Memory that does not exist.
	bad := r.offer(a, false, r.cut(slices.Concat(a.header(), frame)), nil)
	d := r.Desc(bad)
	d.Addr = 0xdead_0000_0000
	r.SetDesc(bad, d)
	a.send(frame)

	a.poll()
	if n := a.reclaim(); n != 5 {
		t.Errorf("%d chains were returned, want 5", n)
	}
	a.dropped(map[vswitch.DropReason]uint64{vswitch.DropBadChain: 3})
	b.gets(frame)
	b.gets(frame)
	b.getsNothing()
}

// A frame may have 256 pieces, but not more: each piece may lie in a different page.
func TestPiecesOfAFrame(t *testing.T) {
	for name, features := range map[string]uint64{"split": modern, "packed": modern | 1<<virtqueue.FeatureRingPacked} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{size: 4096, features: features})
			b := l.newGuest(guestConfig{})
			b.post(b.rx[0], 4, 2048)
			frame := a.frameTo(b, 1000)
			ones := func(n int) []int { return slices.Repeat([]int{1}, n) }
			a.send(frame, ones(255)...)
			a.send(frame, ones(256)...)
			a.send(frame, ones(900)...)
			a.send(frame)
			a.poll()
			if n := a.reclaim(); n != 4 {
				t.Errorf("%d chains were returned, want 4", n)
			}
			b.gets(frame)
			b.gets(frame)
			b.getsNothing()
			a.dropped(map[vswitch.DropReason]uint64{vswitch.DropBadChain: 2})
		})
	}
}

// However many pieces a guest's frames have, the number that is popped at a time is bounded.
func TestPiecesOfABatch(t *testing.T) {
	const pieces, atOnce = 200, 512
	l := newLab(t)
	a := l.newGuest(guestConfig{size: 32768, memory: 4 << 20})
	frame := a.frameTo(a, 1000)
	for range 64 {
		a.send(frame, slices.Repeat([]int{1}, pieces-1)...)
	}
	for _, s := range a.transmitting() {
		if n := s.Poll(); n == 0 || n*pieces > atOnce+pieces {
			t.Errorf("%d frames of %d pieces at once", n, pieces)
		}
	}
}

// A driver whose receive buffers are tiny cannot have a group of frames divided into any
// number of pieces.
func TestPiecesOfReceivedFrames(t *testing.T) {
	const size, most = 60, 1024
	l := newLab(t)
	a := l.newGuest(guestConfig{size: 64})
	b := l.newGuest(guestConfig{size: 32768, memory: 4 << 20})
	frame := a.frameTo(b, 1500)
	b.post(b.rx[0], 32000, 12)
	for range size {
		a.send(frame)
	}
	a.poll()
	pieces := (12 + 1500 + 11) / 12
	full := b.counters.Drops(vswitch.DropRingFull)
	if sent := b.counters.TxFrames.Load(); sent != uint64((most+pieces-1)/pieces) || sent+full != size {
		t.Errorf("%d frames received in %d pieces each, %d dropped", sent, pieces, full)
	}
}

// Frames that a guest has sent before it disables the queue are not discarded.
func TestDisablingSendsPendingFrames(t *testing.T) {
	l := newLab(t)
	a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{})
	frames := [][]byte{a.frameTo(b, 60), a.frameTo(b, 1514)}
	b.post(b.rx[0], 2, 2048)
	for _, f := range frames {
		a.send(f)
	}
	a.port.RingEnabled(1, false)
	for _, f := range frames {
		b.gets(f)
	}
	a.dropped(nil)
}

// A started ring that is disabled is processed "without causing any side effects": frames are
// taken and discarded.
func TestDisabledTransmitq(t *testing.T) {
	l := newLab(t)
	a := l.newGuest(guestConfig{})
	b := l.newGuest(guestConfig{})
	b.post(b.rx[0], 3, 1500)
	frame := a.frameTo(b, 100)
	a.port.RingEnabled(1, false)
	for range 3 {
		a.send(frame)
	}
	a.poll()
	if n := a.reclaim(); n != 3 {
		t.Fatalf("%d chains were returned, want 3", n)
	}
	b.getsNothing()
	a.dropped(map[vswitch.DropReason]uint64{vswitch.DropDisabled: 3})
	a.port.RingEnabled(1, true)
	a.send(frame)
	a.poll()
	b.gets(frame)
}

// Frames of one batch go to all of their destinations, in order.
func TestBatchToSeveralGuests(t *testing.T) {
	l := newLab(t)
	var gs []*guest
	for range 5 {
		g := l.newGuest(guestConfig{})
		g.post(g.rx[0], 64, 300)
		gs = append(gs, g)
	}
	want := make([][][]byte, len(gs))
	for i := range vswitch.MaxBatch {
		to := 1 + (i*7)%(len(gs)-1)
		f := gs[0].frameTo(gs[to], 60+i)
		if i%9 == 0 {
			copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			for k := 1; k < len(gs); k++ {
				want[k] = append(want[k], f)
			}
		} else {
			want[to] = append(want[to], f)
		}
		gs[0].send(f)
	}
	if n := gs[0].poll(); n != vswitch.MaxBatch {
		t.Fatalf("%d chains in the first batch", n)
	}
	for k := 1; k < len(gs); k++ {
		for _, f := range want[k] {
			gs[k].gets(f)
		}
		gs[k].getsNothing()
	}
	gs[0].getsNothing()
}
