package virtqueue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// growth returns the time that f takes for a ring of MaxSize, as a multiple of the time for a ring
// of a sixteenth of that size. It takes the shortest of several runs, so that other load hardly
// counts, and measures again if the result seems quadratic: on a busy machine linear work may seem
// quadratic now and then, while quadratic work always does.
func growth(f func(size int)) (g float64) {
	for range 10 {
		if g = growthOnce(f); g <= quadratic {
			break
		}
	}
	return g
}

func growthOnce(f func(size int)) float64 {
	shortest := func(size int) time.Duration {
		best := time.Duration(1 << 62)
		for range 5 {
			began := time.Now()
			f(size)
			best = min(best, time.Since(began))
		}
		return best
	}
	return float64(shortest(MaxSize)) / float64(shortest(MaxSize/16))
}

// quadratic is more than the growth of linear work between the two sizes (16, and more because of
// caches), and less than that of quadratic work (256).
const quadratic = 120

// Endless chains, and used chains behind unused ones, do not make Resume of a packed ring
// quadratic.
func TestResumeIsLinear(t *testing.T) {
	for name, flags := range map[string][2]uint16{
		"endless chain":             {descAvail | descNext, descAvail | descNext},
		"used before endless chain": {descAvail | descNext, descEither},
	} {
		t.Run(name, func(t *testing.T) {
			g := growth(func(size int) {
				s := make(ringImage, size)
				for i := range s {
					s[i].flags = flags[i%2]
					if i%2 == 0 && i > size/2 {
						s[i].flags = descAvail | descNext
					}
				}
				end, ok := s.end()
				if !ok {
					t.Fatal("the ring has no end")
				}
				s.tailsBefore(end, size).repair(end.sub(size, size), size)
			})
			if g > quadratic {
				t.Errorf("a ring of 16 times the size takes %.0f times as long", g)
			}
		})
	}
}

// Loops of links in a record do not make reading the record quadratic.
func TestInflightRecoveryIsLinear(t *testing.T) {
	g := growth(func(size int) {
		words := make([]uint64, InflightSize(size, true)/8)
		words[1] = inflightVersion | uint64(size)<<16
		for i := range size {
			words[4+4*i] = 1 | uint64((i+1)%size)<<16 | 0xffff<<48
			words[6+4*i] = descNext << 16
		}
		q := &Queue{isPacked: true, cfg: Config{Size: size}}
		q.packed.desc = make([][2]uint64, size)
		if _, again, err := q.recoverPacked(words); err != nil || len(again) != 0 {
			t.Fatalf("%d endless chains are in flight, %v", len(again), err)
		}
	})
	if g > quadratic {
		t.Errorf("a record of 16 times the size takes %.0f times as long", g)
	}
}

// The lengths that are computed once for all places equal those found by following the links
// from each place.
func TestChainsFoundAtOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 9))
	for range 2000 {
		size := 1 + rnd.IntN(12)
		s := make(ringImage, size)
		for i := range s {
			s[i].id = uint16(rnd.IntN(3))
			s[i].flags = []uint16{descAvail, descAvail | descNext, descEither}[rnd.IntN(3)]
		}
		end := packedPos{idx: rnd.IntN(size), lap: descEither}
		waiting := rnd.IntN(size + 1)
		r := s.tailsBefore(end, waiting)
		for left := 1; left <= waiting; left++ {
			at, want := end.sub(left, size), chainTail{}
			for i := range left {
				d := s.at(at.add(i, size))
				if d.isUsed() {
					break
				}
				if d.flags&descNext == 0 {
					want = chainTail{i + 1, d.id}
					break
				}
			}
			if got := r.tails[at.idx]; got != want {
				t.Fatalf("%v, %d before %v: %v, want %v", s, left, end, got, want)
			}
		}

		rec := packedRecord{&inflightPacked{size: size}, make([]uint64, 4*size)}
		for i := range size {
			rec.entries[4*i] = uint64(rnd.IntN(size+1)) << 16
			rec.entries[4*i+2] = uint64(rnd.IntN(2)) * descNext << 16
		}
		want := make([]int, size)
		for i := range want {
			want[i] = endless
			for e, n := i, 1; e < size && n <= size; n++ {
				if rec.entries[4*e+2]>>16&descNext == 0 {
					want[i] = n
					break
				}
				e = int(uint16(rec.entries[4*e] >> 16))
			}
		}
		if got := rec.lengths(); !slices.Equal(got, want) {
			t.Fatalf("lengths of %x: %v, want %v", rec.entries, got, want)
		}
	}
}
