package netport_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
)

// A stream is two guests, one of which sends batches to the other. Their drivers' chains are fixed
// and returned in order, so that drivers cost per batch, not per frame: the benchmark measures the
// device, the switch, and the device.
type stream struct {
	a, b    *guest
	batch   int      // number of frames
	perRecv int      // number of buffers that a frame fills
	sources []uint16 // heads of the sender's chains
}

// A traffic describes the frames of a stream.
type traffic struct {
	name     string
	features uint64
	batch    int // number of frames
	frame    int // bytes, in one buffer
	recv     int // bytes of a receive buffer

	gso     bool  // the frame may be segmented
	cut     bool  // the receiver needs segments
	pieces  []int // lengths of the frame's buffers except the last; they are in an indirect table
	sources int   // number of the sender's chains, used in turn; 0: as many as the ring has
}

var traffics = []traffic{
	{name: "64B", features: modern, batch: vswitch.MaxBatch, frame: 64, recv: 1536},
	{name: "64B-eventidx", features: modern | eventIdx, batch: vswitch.MaxBatch, frame: 64, recv: 1536},
	{name: "64B-alone", features: modern, batch: 1, frame: 64, recv: 1536},
	{name: "1500B", features: modern, batch: vswitch.MaxBatch, frame: 1514, recv: 1536},
	{name: "64KiB-into-4KiB", features: modern, batch: vswitch.MaxBatch, frame: 65536, recv: 4096},
	{name: "64KiB-into-64KiB", features: modern, batch: vswitch.MaxBatch, frame: 65536, recv: 65536 + 12},
}

func newStream(tb testing.TB, c traffic) *stream {
	tb.Helper()
	l := newLab(tb)
	s := &stream{batch: c.batch, perRecv: (c.frame + 12 + c.recv - 1) / c.recv}
	theirs := c.features
	if c.cut {
		s.perRecv = (c.frame - 54 + 1459) / 1460 // one for each segment
		theirs &^= netport.AllOffloads
	}
	size := 256
	for size < 2*s.batch*s.perRecv {
		size *= 2
	}
	s.a = l.newGuest(guestConfig{features: c.features, memory: 64 << 20, offloads: netport.AllOffloads})
	s.b = l.newGuest(guestConfig{features: theirs, memory: 64 << 20, offloads: netport.AllOffloads, size: size})
	data := slices.Concat(s.a.header(), s.a.frameTo(s.b, c.frame))
	if c.gso {
		header, frame := segmentable(s.a, s.b, c.frame-54)
		data = slices.Concat(header, frame)
	}
	tx, rx := s.a.tx[0], s.b.rx[0]
	build := tx.Build
	if len(c.pieces) > 0 {
		build = tx.BuildIndirect
	}
	for range cmp.Or(c.sources, 256) {
		head, err := build(tx.cut(data, c.pieces...), nil)
		if err != nil {
			tb.Fatal(err)
		}
		s.sources = append(s.sources, head)
	}
	for i := range 256 {
		tx.SetAvailEntry(uint16(i), s.sources[i%len(s.sources)])
	}
	for i := range uint16(size) {
		head, err := rx.Build(nil, []buf{rx.Alloc(c.recv)})
		if err != nil {
			tb.Fatal(err)
		}
		rx.SetAvailEntry(i, head)
	}
	rx.OfferAgain(size - s.perRecv*s.batch) // there are always more than a batch needs
	s.round(tb)
	s.b.dropped(nil)
	return s
}

// round sends s.batch frames.
func (s *stream) round(tb testing.TB) {
	tx, rx := s.a.tx[0], s.b.rx[0]
	rx.OfferAgain(s.perRecv * s.batch)
	rx.Publish()
	tx.OfferAgain(s.batch)
	tx.Publish()
	for left := s.batch; left > 0; { // long frames need several polls
		n := s.a.sources[0].Poll()
		if left -= n; n == 0 || left < 0 {
			tb.Fatalf("%d chains polled, %d of %d left", n, left, s.batch)
		}
	}
	if n := tx.SkipUsed(); n != s.batch {
		tb.Fatalf("%d chains used by the transmitq", n)
	}
	if n := rx.SkipUsed(); n != s.perRecv*s.batch {
		tb.Fatalf("%d chains used by the receiveq, want %d; drops %v", n, s.perRecv*s.batch, s.b.counters.DropsByName())
	}
}

// BenchmarkGuestToGuest measures the path of a frame from one guest's ring to another's. On a
// machine with other load, the tenth percentile is more meaningful than the mean.
func BenchmarkGuestToGuest(b *testing.B) {
	for _, c := range traffics {
		b.Run(c.name, func(b *testing.B) {
			s := newStream(b, c)
			b.ReportAllocs()
			b.SetBytes(int64(c.frame * c.batch))
			var rounds [4096]time.Duration // the latest ones
			n := 0
			for b.Loop() {
				t := time.Now()
				s.round(b)
				rounds[n%len(rounds)] = time.Since(t)
				n++
			}
			perFrame := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(c.batch) }
			last := rounds[:min(n, len(rounds))]
			slices.Sort(last)
			b.ReportMetric(perFrame(b.Elapsed())/float64(n), "ns/frame")
			b.ReportMetric(perFrame(last[len(last)/10]), "p10-ns/frame")
		})
	}
}

// The path from guest to guest does not allocate.
func TestNoAllocations(t *testing.T) {
	for _, c := range slices.Concat(traffics, segmentables) {
		s := newStream(t, c)
		if n := testing.AllocsPerRun(100, func() { s.round(t) }); n != 0 {
			t.Errorf("%s: %v allocations for a batch", c.name, n)
		}
	}
}
