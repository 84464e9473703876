package vswitch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A benchFDB is an FDB that is full of entries of one port.
func benchFDB(n int) (*fdb, *fdbPort, []hash) {
	t := newFDB(n, FDBConfig{AgingTime: 300 * time.Second})
	p := t.openPort(1, 0, new(Counters))
	p.open = true
	hs := make([]hash, n)
	for i := range hs {
		k := makeKey(addr(0x525400000000+i), 0)
		hs[i] = t.perm.hash(k)
		t.learn(k, hs[i], p, 1)
	}
	rand.Shuffle(n, func(i, j int) { hs[i], hs[j] = hs[j], hs[i] })
	return t, p, hs
}

// BenchmarkFDBLookup looks up known addresses in random order, in batches: as in Deliver, the
// buckets of a batch are touched first.
func BenchmarkFDBLookup(b *testing.B) {
	for _, n := range []int{64, 8192, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t, _, hs := benchFDB(n)
			b.ReportAllocs()
			var at, found int
			var touched uint64
			for b.Loop() {
				if at+MaxBatch > len(hs) {
					at = 0
				}
				batch := hs[at : at+MaxBatch]
				at += MaxBatch
				for _, h := range batch {
					touched += t.touch(h)
				}
				for _, h := range batch {
					if t.destination(0, h, 1) != 0 {
						found++
					}
				}
			}
			if found != b.N*MaxBatch {
				b.Fatalf("found %d of %d", found, b.N*MaxBatch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*MaxBatch), "ns/lookup")
		})
	}
}

// BenchmarkFDBLearn adds entries for new addresses: to a table with free room, and to a full one,
// where each evicts another entry.
func BenchmarkFDBLearn(b *testing.B) {
	for _, n := range []int{8192, 1_000_000} {
		b.Run(fmt.Sprintf("evicting/%d", n), func(b *testing.B) {
			t, p, _ := benchFDB(n)
			b.ReportAllocs()
			a := addr(0x020000000000)
			for b.Loop() {
				p.evictions = 0 // do not measure the limit for each second
				k := makeKey(a, 0)
				t.learn(k, t.perm.hash(k), p, 1)
				a++
			}
		})
	}
	b.Run("moving", func(b *testing.B) {
		t, p, hs := benchFDB(8192)
		q := t.openPort(2, 0, new(Counters))
		q.open = true
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			to := p
			if i/len(hs)%2 == 0 {
				to = q
			}
			t.learn(0, hs[i%len(hs)], to, 1)
			i++
		}
	})
}
