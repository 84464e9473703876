package netport_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"vswitchd/switch/vswitchtest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

const (
	fuzzSize   = 16      // of the hostile ring
	fuzzMemory = 1 << 16 // bytes of its buffers

	allOffloads = guestCsum | guestTSO4 | 1<<8 | 1<<9 | 1<<10 | 1<<54 | 1<<55

	// Parameters that the fuzzer varies besides the guest's memory.
	fuzzLegacy    = 1 << 0 // the sender's header has 10 bytes
	fuzzOffloads  = 1 << 1 // the receiver takes all offloads
	fuzzMergeable = 1 << 2 // the receiver merges buffers
	fuzzSmall     = 1 << 3 // the receiver's buffers are small
)

// A fuzzGuest is a transmitq whose descriptor table, available ring and buffers contain
// arbitrary bytes.
type fuzzGuest struct {
	*guest
	room uint64 // guest-physical address of its buffers
}

func (g *fuzzGuest) reset(features uint64, heads, table, data []byte) {
	r := g.tx[0]
	g.port.RingStopped(r.index)
	g.port.Attach(nil) // resets a ring that was broken
	g.port.FeaturesSet(features)
	empty(r)
	for i := range uint16(fuzzSize) {
		var d [16]byte
		copy(d[:], table[min(len(table), 16*int(i)):])
		r.SetDesc(i, virtqueuetest.Desc{
			Addr:  binary.LittleEndian.Uint64(d[:]),
			Len:   binary.LittleEndian.Uint32(d[8:]),
			Flags: binary.LittleEndian.Uint16(d[12:]),
			Next:  binary.LittleEndian.Uint16(d[14:]),
		})
	}
	for i, h := range heads {
		r.SetAvailEntry(uint16(i), uint16(h))
	}
	r.Write(g.room, make([]byte, fuzzMemory))
	r.Write(g.room, data)
	g.run(r)
	r.SetAvailIdx(uint16(len(heads)))
}

// empty resets a ring that has stopped.
func empty(r *ring) {
	for _, bufs := range r.bufs {
		for _, b := range bufs {
			r.FreeBuf(b)
		}
	}
	clear(r.bufs)
	r.Abandon(0)
	r.q = nil
}

// FuzzTransmitChain makes a guest send arbitrary chains to another guest.
func FuzzTransmitChain(f *testing.F) {
	l := newLab(f)
	sender := l.newGuest(guestConfig{size: fuzzSize, memory: fuzzMemory + 16})
	a := &fuzzGuest{guest: sender, room: sender.tx[0].Alloc(fuzzMemory).Addr}
	b := l.newGuest(guestConfig{memory: 1 << 23})
	for _, s := range fuzzSeeds(a) {
		f.Add(s.knobs, s.heads, s.table, s.data)
	}
	f.Fuzz(func(t *testing.T, knobs byte, heads, table, data []byte) {
		l.TB = t
		defer func() { l.TB = f }()
		from, to := uint64(modern|csum), uint64(indirect|version1)
		if knobs&fuzzLegacy != 0 {
			from = indirect | csum
		}
		a.hdrLen = 10 + 2*int(from>>32&1)
		if knobs&fuzzOffloads != 0 {
			to |= allOffloads
		}
		if knobs&fuzzMergeable != 0 {
			to |= mrgRxbuf
		}
		a.cfg.features, b.cfg.features = from, to
		b.port.RingStopped(0)
		empty(b.rx[0]) // the previous input may have had buffers of another size
		b.port.FeaturesSet(to)
		b.run(b.rx[0])
		size := 20000
		if knobs&fuzzSmall != 0 {
			size = 200
		}
		b.post(b.rx[0], 200, size)

		before := l.sums()
		heads = heads[:min(len(heads), fuzzSize)]
		a.reset(from, heads, table[:min(len(table), 16*fuzzSize)], data[:min(len(data), fuzzMemory)])
		a.poll()

		frames := 0
		for _, ok := b.receive(b.rx[0]); ok; _, ok = b.receive(b.rx[0]) {
			frames++
		}
		after := l.sums()
		if tx := int(after.txFrames - before.txFrames); tx != frames {
			t.Errorf("%d frames counted, the guest received %d", tx, frames)
		}
		r := a.tx[0]
		used := r.used()
		if r.q.Err() != nil {
			return // the ring is broken: no chains are returned
		}
		if len(used) != len(heads) {
			t.Fatalf("%d of %d chains were returned", len(used), len(heads))
		}
		for i, u := range used {
			if u != [2]uint32{uint32(heads[i]), 0} {
				t.Errorf("chain %d was returned as %d with %d bytes written", heads[i], u[0], u[1])
			}
		}
		in, out := after.rxFrames-before.rxFrames, after.txFrames-before.txFrames+after.drops-before.drops
		if n := in + after.discarded - before.discarded; n != uint64(len(heads)) {
			t.Errorf("%d frames of %d chains are accounted for", n, len(heads))
		}
		// Segmentation increases the number of frames, also for a driver that takes
		// segmentable frames but has no buffers for the longest.
		const whole = fuzzOffloads | fuzzMergeable
		if out < in || out > in && knobs&(whole|fuzzSmall) == whole {
			t.Errorf("%d frames in, %d out or dropped", in, out)
		}
	})
}

type fuzzSeed struct {
	knobs              byte
	heads, table, data []byte
}

// fuzzSeeds returns one of each kind of chain.
func fuzzSeeds(a *fuzzGuest) (seeds []fuzzSeed) {
	descs := func(ds ...virtqueuetest.Desc) (b []byte) {
		for _, d := range ds {
			b = d.Append(b)
		}
		return b
	}
	const next, table = virtqueuetest.FlagNext, virtqueuetest.FlagIndirect
	at := a.room
	frame := vswitchtest.Ether(vswitchtest.Station(1), vswitchtest.Station(0), make([]byte, 300))
	n := uint32(12 + len(frame))
	data := slices.Concat(make([]byte, 12), frame)
	seed := func(knobs byte, heads, table, data []byte) {
		seeds = append(seeds, fuzzSeed{knobs, heads, table, data})
	}
	seed(0, []byte{0}, descs(virtqueuetest.Desc{Addr: at, Len: n}), data)
	seed(fuzzLegacy, []byte{0}, descs(virtqueuetest.Desc{Addr: at + 2, Len: n - 2}), data)
	seed(fuzzMergeable|fuzzSmall, []byte{1, 1}, descs(virtqueuetest.Desc{},
		virtqueuetest.Desc{Addr: at, Len: 5, Flags: next, Next: 2},
		virtqueuetest.Desc{Addr: at + 5, Len: 100, Flags: next, Next: 3},
		virtqueuetest.Desc{Addr: at + 105, Len: n - 105}), data)
	seed(fuzzMergeable, []byte{0}, descs(virtqueuetest.Desc{Addr: at, Len: 3 * 16, Flags: table}),
		slices.Concat(descs(
			virtqueuetest.Desc{Addr: at + 48, Len: 12, Flags: next, Next: 2},
			virtqueuetest.Desc{},
			virtqueuetest.Desc{Addr: at + 60, Len: n - 12},
		), data))
	seed(0, []byte{0, 1, 2}, descs(virtqueuetest.Desc{Addr: at, Len: n, Flags: next},
		virtqueuetest.Desc{Addr: at, Len: n, Flags: virtqueuetest.FlagWrite},
		virtqueuetest.Desc{Addr: 1, Len: 1 << 31}), data)
	// A checksum to complete, a frame to segment, with and without a receiver.
	gso := slices.Concat([]byte{1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0}, tcp4(a.guest, a.guest, 2000))
	copy(gso[12:], frame[:12])
	sum := slices.Concat([]byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0}, gso[12:])
	for _, knobs := range []byte{0, fuzzOffloads | fuzzMergeable, fuzzMergeable | fuzzSmall} {
		one := descs(virtqueuetest.Desc{Addr: at, Len: uint32(len(gso))})
		seed(knobs, []byte{0, 0}, one, gso)
		seed(knobs, []byte{0}, one, sum)
	}
	seed(0, []byte{virtqueue.MaxSize >> 8}, nil, nil)
	return seeds
}
