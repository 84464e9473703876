package netport_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
)

// segmentable returns the header and the frame that a guest sends for n bytes of TCP payload in
// segments of 1460 bytes.
func segmentable(from, to *guest, n int) (header, frame []byte) {
	// NEEDS_CSUM, TSOv4, hdr_len 54, gso_size 1460, csum_start 34, csum_offset 16
	return []byte{1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0}, tcp4(from, to, 54+n)
}

// sendTSO makes the guest send n bytes in segments of 1460.
func (g *guest) sendTSO(to *guest, n int) (payload []byte) {
	g.Helper()
	header, frame := segmentable(g, to, n)
	r := g.tx[0]
	r.offer(g, false, r.cut(slices.Concat(header, frame)), nil)
	r.publish()
	g.poll()
	g.reclaim()
	return frame[54:]
}

// getsTCP expects frames, with payloads of the given lengths, that contain payload.
func (g *guest) getsTCP(payload []byte, lengths ...int) {
	g.Helper()
	var got []byte
	for i, n := range lengths {
		f, ok := g.receive(g.rx[0])
		if !ok || len(f.frame) != 54+n {
			g.Fatalf("frame %d has %d bytes, want %d; drops %v", i, len(f.frame), 54+n, g.counters.DropsByName())
		}
		if gso := f.header[1] != 0; gso != (n > 1460) {
			g.Errorf("frame %d: header %x", i, f.header)
		}
		got = append(got, f.frame[54:]...)
	}
	g.getsNothing()
	if !slices.Equal(got, payload) {
		g.Error("the payload has changed")
	}
}

// A driver that takes segmentable frames, but whose buffers are too small for them, gets segments.
func TestSegmentsForSmallBuffers(t *testing.T) {
	const offloads = netport.OffloadCsum | netport.OffloadTSO
	for _, c := range []struct {
		name     string
		features uint64
		chain    []int // sizes of a chain's buffers
		lengths  []int // of the payloads received for 4000 bytes sent

	}{
		{"big buffers", indirect | version1, []int{12, 65550}, []int{4000}},
		{"pages", indirect | version1, slices.Repeat([]int{4096}, 17), []int{4000}},
		{"legacy pages", indirect, slices.Repeat([]int{4096}, 17), []int{4000}},
		{"just enough", indirect | version1, []int{12 + 54 + 4000}, []int{4000}},
		{"one byte short", indirect | version1, []int{12 + 54 + 3999}, []int{1460, 1460, 1080}},
		{"legacy, one byte short", indirect, []int{10 + 54 + 3999}, []int{1460, 1460, 1080}},
		{"of a frame", indirect | version1, []int{1526}, []int{1460, 1460, 1080}},
		{"of a frame, in pieces", indirect | version1, []int{12, 700, 814}, []int{1460, 1460, 1080}},
		{"of a frame, legacy", indirect, []int{1524}, []int{1460, 1460, 1080}},
		{"mergeable", modern, []int{1526}, []int{4000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			a := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads, memory: 4 << 20})
			b := l.newGuest(guestConfig{features: c.features | offloads, offloads: offloads, memory: 4 << 20})
			// A frame before there are buffers does not determine their size.
			a.sendTSO(b, 4000)
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 1})
			for range 3 {
				b.post(b.rx[0], 8-len(b.rx[0].bufs), c.chain...)
				b.getsTCP(a.sendTSO(b, 4000), c.lengths...)
			}
			b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 1})
		})
	}
}

// If all buffers of a ring together are too small, segments are sent as far as they fit.
func TestSegmentsForTinyRing(t *testing.T) {
	const offloads = netport.OffloadCsum | netport.OffloadTSO
	l := newLab(t)
	a := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	b := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads, size: 4})
	for range 2 {
		b.post(b.rx[0], 4, 1000)
		b.getsTCP(a.sendTSO(b, 3934), 3934) // 4000 bytes with the headers
		b.post(b.rx[0], 4, 1000)
		b.getsTCP(a.sendTSO(b, 3935)[:2*1460], 1460, 1460)
	}
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropRingFull: 2})
}

// Buffers that become smaller cost the first frame that does not fit.
func TestBuffersThatShrink(t *testing.T) {
	const offloads = netport.OffloadCsum | netport.OffloadTSO
	l := newLab(t)
	a := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	b := l.newGuest(guestConfig{features: indirect | version1 | offloads, offloads: offloads})
	b.post(b.rx[0], 1, 10000)
	b.getsTCP(a.sendTSO(b, 9000), 9000)
	b.post(b.rx[0], 6, 5000)
	a.sendTSO(b, 9000)
	b.getsNothing()
	b.getsTCP(a.sendTSO(b, 4900), 4900)
	b.getsTCP(a.sendTSO(b, 4934), 4934)
	b.getsTCP(a.sendTSO(b, 4935), 1460, 1460, 1460, 555)
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropNoFit: 1})

	// A new driver may have larger buffers.
	b.port.RingStopped(0)
	b.run(b.rx[0])
	b.post(b.rx[0], 1, 10000)
	b.getsTCP(a.sendTSO(b, 9000), 9000)
}

// A driver's claim that it has verified a checksum is not passed on.
func TestNoDriverVerifiesChecksums(t *testing.T) {
	const offloads = netport.AllOffloads
	l := newLab(t)
	a := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	b := l.newGuest(guestConfig{features: modern | offloads, offloads: offloads})
	b.post(b.rx[0], 2, 2000)
	for _, flags := range []byte{2, 0xfe} {
		frame := tcp4(a, b, 200)
		a.tx[0].offer(a, false, a.tx[0].cut(slices.Concat([]byte{flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, frame)), nil)
		a.tx[0].publish()
		a.poll()
		if f := b.gets(frame); binary.LittleEndian.Uint64(f.header) != 0 {
			t.Errorf("flags %#x: header %x", flags, f.header)
		}
	}
	if d := a.counters.DropsByName(); len(d) != 0 {
		t.Error(fmt.Sprint(d))
	}
}
