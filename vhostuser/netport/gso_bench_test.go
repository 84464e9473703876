package netport_test

import (
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
)

const tso = modern | netport.OffloadCsum | netport.OffloadTSO

// linux is Linux's layout of a large frame: the header and the head of the frame, and pages, which
// are allocated eight at a time.
var linux = []int{12 + 54, 32768}

// segmentables are streams of 64 KiB frames, to guests that take them whole, except the last.
var segmentables = []traffic{
	{name: "into-4KiB", features: tso, batch: vswitch.MaxBatch, frame: 65536, recv: 4096, gso: true, pieces: linux},
	{name: "into-4KiB-few", features: tso, batch: 8, frame: 65536, recv: 4096, gso: true, pieces: linux, sources: 8},
	{name: "into-64KiB", features: tso, batch: vswitch.MaxBatch, frame: 65536, recv: 65536 + 12, gso: true, pieces: linux},
	{name: "into-64KiB-few", features: tso, batch: 8, frame: 65536, recv: 65536 + 12, gso: true, pieces: linux, sources: 8},
	{name: "in-segments", features: tso, batch: vswitch.MaxBatch, frame: 65536, recv: 1536, gso: true, cut: true, pieces: linux},
}

// A memmove copies what a stream copies, in one piece, between the same number of places in
// the same memory.
type memmove struct {
	from, to [][]byte
	i, j     int
}

func newMemmove(s *stream, c traffic) *memmove {
	m := &memmove{}
	tx, rx := s.a.tx[0], s.b.rx[0]
	for range len(s.sources) {
		m.from = append(m.from, tx.Bytes(tx.Alloc(c.frame)))
	}
	for range rx.Config().Size / s.perRecv {
		m.to = append(m.to, rx.Bytes(rx.Alloc(c.frame)))
	}
	return m
}

// round copies n frames.
func (m *memmove) round(n int) {
	for range n {
		copy(m.to[m.j], m.from[m.i])
		m.i = (m.i + 1) % len(m.from)
		m.j = (m.j + 1) % len(m.to)
	}
}

// BenchmarkSegmentable measures how fast 64 KiB frames go from one guest's ring to another's, and
// in turns how fast their bytes are only copied. The ratio is the median of all rounds.
func BenchmarkSegmentable(b *testing.B) {
	for _, c := range segmentables {
		b.Run(c.name, func(b *testing.B) {
			s := newStream(b, c)
			m := newMemmove(s, c)
			b.ReportAllocs()
			var frames, copies, ratio [4096]float64 // the latest ones
			n := 0
			for b.Loop() {
				t := time.Now()
				s.round(b)
				u := time.Now()
				m.round(s.batch)
				v := time.Now()
				i := n % len(frames)
				frames[i], copies[i] = u.Sub(t).Seconds(), v.Sub(u).Seconds()
				ratio[i] = copies[i] / frames[i]
				n++
			}
			last := func(x *[4096]float64) float64 {
				slices.Sort(x[:min(n, len(x))])
				return x[min(n, len(x))/2]
			}
			batch := float64(c.frame*c.batch) / 1e6
			b.ReportMetric(0, "ns/op") // of both together says nothing
			b.ReportMetric(batch/last(&frames), "MB/s")
			b.ReportMetric(batch/last(&copies), "memmove-MB/s")
			b.ReportMetric(last(&ratio), "of-memmove")
		})
	}
}
