package worker

import (
	"math/rand/v2"
	"testing"
)

// A source is polled while it finds work at a reasonable price, and else only now and then.
func TestPollingHasAPrice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(mean float64) func() int64 { return func() int64 { return int64(rng.ExpFloat64() * mean) } }
	every := func(ns int64) func() int64 { return func() int64 { return ns } }
	for _, tt := range []struct {
		name        string
		gap         func() int64 // until the next frame
		least, most float64      // share of the time spent on polling in vain
	}{
		{"a frame every 20 µs", every(20_000), 0.95, 1},
		{"a frame every 45 µs", every(45_000), 0.95, 1},
		{"a frame every 60 µs", every(60_000), 0, 0.03},
		{"a frame every 100 µs", every(100_000), 0, 0.02},
		{"a frame every 10 ms", every(10_000_000), 0, 0.001},
		{"at random, every 15 µs on average", random(15_000), 0.8, 1},
		{"at random, every 100 µs on average", random(100_000), 0, 0.06},
		{"at random, every 300 µs on average", random(300_000), 0, 0.01},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var credit pollCredit
			var idle, total int64
			for range 10_000 {
				gap := tt.gap()
				total += gap
				wait := credit.wait()
				if gap < wait {
					idle += gap
					credit.found(gap)
				} else {
					idle += wait
					credit.armed(wait)
				}
			}
			if share := float64(idle) / float64(total); share < tt.least || share > tt.most {
				t.Errorf("polled for %.3f of the time, want %v to %v", share, tt.least, tt.most)
			}
		})
	}
}
