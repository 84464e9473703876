package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is the distribution of how long a frame takes through a back-end: from the moment when
// the sender's ring has it until the receiver's ring has.
type Latency struct {
	Histogram *hdrhistogram.Histogram // nanoseconds
	Asleep    int                     // how many times the back-end had asked to be woken before
}

// Percentile returns the time within which p of 100 frames went through.
func (l Latency) Percentile(p float64) time.Duration {
	return time.Duration(l.Histogram.ValueAtPercentile(p))
}

// PingPong has one frame at a time go to and fro between the first two ports, n times each way, and
// measures each way. The back-end has been quiet for the given time when a frame is sent; with 0 it
// is still busy with the last one. The time that a kick takes the sender is part of it.
func (g *Generator) PingPong(n int, quiet time.Duration) (Latency, error) {
	l := Latency{Histogram: hdrhistogram.New(1, int64(time.Minute), 3)}
	there, err := g.way(0)
	if err != nil {
		return l, err
	}
	back, err := g.way(1)
	if err != nil {
		return l, err
	}
	g.flush()
	for i := range warmPings + 2*n {
		w := there
		if i%2 == 1 {
			w = back
		}
		for end := time.Now().Add(quiet); quiet > 0 && time.Now().Before(end); {
			g.pause()
		}
		asleep := w.from.ring.armed()
		took, err := g.ping(w)
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

// warmPings are not measured. An even number.
const warmPings = 1000

// A way is from a transmitq to a receiveq.
type way struct {
	from *sender
	to   []*receiver
}

// way returns the way from port 0 or 1 to the other.
func (g *Generator) way(from uint8) (w way, err error) {
	for _, s := range g.senders {
		if s.from == from && w.from == nil {
			w.from = s
		}
	}
	for _, r := range g.busy {
		if r.port == from^1 {
			w.to = append(w.to, r)
		}
	}
	if w.from == nil || len(w.to) == 0 {
		return w, fmt.Errorf("port %d does not send", from)
	}
	return w, nil
}

// ping sends one frame and waits for it.
func (g *Generator) ping(w way) (time.Duration, error) {
	if _, err := w.from.reap(); err != nil {
		return 0, err
	}
	if w.from.pending == 0 {
		return 0, fmt.Errorf("the back-end has not returned any of %d frames", w.from.size)
	}
	start := time.Now()
	g.send(w.from, 1)
	for n := 1; ; n++ {
		for _, r := range w.to {
			// The time is taken before the frame is looked at, and its buffer returned.
			if r.ring.ready() {
				took := time.Since(start)
				_, err := g.receive(r, 1)
				return took, err
			}
		}
		if n%1000 == 0 && time.Since(start) > patience {
			return 0, fmt.Errorf("a frame has not arrived within %v", patience)
		}
	}
}
