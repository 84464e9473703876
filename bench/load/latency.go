package load

import (
	"errors"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is the distribution of how long a frame takes through a back-end: from the moment when
// the sender's ring has it until the receiver's ring has.
type Latency struct {
	Histogram *hdrhistogram.Histogram // nanoseconds
	Asleep    int                     // how many times the back-end had asked to be woken before
}

func newLatency() Latency {
	return Latency{Histogram: hdrhistogram.New(1, int64(time.Minute), 3)}
}

// Percentile returns the time within which p of 100 frames went through.
func (l Latency) Percentile(p float64) time.Duration {
	return time.Duration(l.Histogram.ValueAtPercentile(p))
}

// PingPong has one frame at a time go to and fro between the first two ports, n times each way, and
// measures each way. The back-end has been quiet for the given time when a frame is sent; with 0 it
// is still busy with the last one. The time that a kick takes the sender is part of it.
func (g *Generator) PingPong(n int, quiet time.Duration) (Latency, error) {
	ways := g.ways()
	if len(ways) < 2 {
		return Latency{}, errors.New("one of the first two ports does not send")
	}
	g.flush()
	return pingPong([2]way{ways[0], ways[1]}, n, quiet, g.pause)
}

// warmPings are not measured. An even number.
const warmPings = 1000

// pingPong is PingPong on two ways; pause takes a little time.
func pingPong(ways [2]way, n int, quiet time.Duration, pause func()) (Latency, error) {
	l := newLatency()
	for i := range warmPings + 2*n {
		w := ways[i%2]
		for end := time.Now().Add(quiet); quiet > 0 && time.Now().Before(end); {
			pause()
		}
		asleep := w.asleep()
		took, err := ping(w)
		if err != nil {
			return l, err
		}
		if i < warmPings {
			continue
		}
		if asleep {
			l.Asleep++
		}
		if err := l.Histogram.RecordValue(int64(took)); err != nil {
			return l, err
		}
	}
	return l, nil
}
