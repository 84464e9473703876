package netport_test

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// A stream is two guests, one of which sends batches to the other. Their drivers'
// chains are fixed and come back in order, so that drivers cost per batch, not per
// frame: what is measured is the device, the switch, and the device.
type stream struct {
	a, b    *guest
	frame   int // bytes
	perRecv int // buffers that a frame fills
}

// newStream returns a stream of frames of the given length, sent in one buffer each
// and received in buffers of recv bytes.
func newStream(tb testing.TB, features uint64, frame, recv int) *stream {
	tb.Helper()
	l := newLab(tb)
	s := &stream{
		a:     l.newGuest(guestConfig{features: features, memory: 64 << 20}),
		frame: frame, perRecv: (frame + 12 + recv - 1) / recv,
	}
	s.b = l.newGuest(guestConfig{features: features, memory: 64 << 20, size: 2048})
	tx, rx := s.a.tx[0], s.b.rx[0]
	data := slices.Concat(s.a.header(), s.a.frameTo(s.b, frame))
	for range 256 {
		tx.offer(s.a, false, tx.cut(data), nil)
	}
	for rx.Free() > 0 {
		if b := s.perRecv * vswitch.MaxBatch; rx.Config().Size-rx.Free() == 2*b {
			break
		}
		rx.offer(s.b, false, nil, []buf{rx.Alloc(recv)})
	}
	heads := slices.Clone(headsOf(rx))
	for i := range uint16(2048) {
		rx.SetAvailEntry(i, heads[int(i)%len(heads)])
	}
	// What offer has counted is offered in batches.
	tx.Abandon(0)
	rx.Abandon(0)
	s.round(tb)
	s.b.dropped(nil)
	return s
}

// headsOf returns the heads in a ring's available ring, in order.
func headsOf(r *ring) (heads []uint16) {
	for h := range len(r.bufs) {
		heads = append(heads, uint16(h))
	}
	return heads
}

// round sends a batch.
func (s *stream) round(tb testing.TB) {
	tx, rx := s.a.tx[0], s.b.rx[0]
	rx.OfferAgain(s.perRecv * vswitch.MaxBatch)
	rx.Publish()
	tx.OfferAgain(vswitch.MaxBatch)
	tx.Publish()
	if n := s.a.sources[0].Poll(); n != vswitch.MaxBatch {
		tb.Fatalf("%d chains in a batch", n)
	}
	if n := tx.SkipUsed(); n != vswitch.MaxBatch {
		tb.Fatalf("%d chains used by the transmitq", n)
	}
	if n := rx.SkipUsed(); n != s.perRecv*vswitch.MaxBatch {
		tb.Fatalf("%d chains used by the receiveq, want %d; drops %v", n, s.perRecv*vswitch.MaxBatch, s.b.counters.DropsByName())
	}
}

var streams = []struct {
	name        string
	features    uint64
	frame, recv int
}{
	{"64B", modern, 64, 1536},
	{"64B-eventidx", modern | eventIdx, 64, 1536},
	{"1500B", modern, 1514, 1536},
	{"64KiB-into-4KiB", modern, 65536, 4096},
	{"64KiB-into-64KiB", modern, 65536, 65536 + 12},
}

// BenchmarkGuestToGuest measures a frame's way from one guest's ring to another's.
func BenchmarkGuestToGuest(b *testing.B) {
	for _, c := range streams {
		b.Run(c.name, func(b *testing.B) {
			s := newStream(b, c.features, c.frame, c.recv)
			b.ReportAllocs()
			b.SetBytes(int64(c.frame * vswitch.MaxBatch))
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			before := threadTime(b)
			for b.Loop() {
				s.round(b)
			}
			frames := float64(b.N) * vswitch.MaxBatch
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/frames, "ns/frame")
			b.ReportMetric(float64(threadTime(b)-before)/frames, "cpu-ns/frame")
		})
	}
}

// threadTime returns how long the thread has run: on a machine that others use, too,
// that says more than the time of day.
func threadTime(tb testing.TB) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		tb.Fatal(err)
	}
	return ts.Nano()
}

// The way from guest to guest does not allocate.
func TestNoAllocations(t *testing.T) {
	for _, c := range streams {
		s := newStream(t, c.features, c.frame, c.recv)
		if n := testing.AllocsPerRun(100, func() { s.round(t) }); n != 0 {
			t.Errorf("%s: %v allocations for a batch", c.name, n)
		}
	}
}
