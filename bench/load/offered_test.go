package load

import (
	"testing"
	"testing/synctest"
	"time"
)

// A slowWay takes its time for each frame, one after the other.
type slowWay struct {
	each time.Duration
	idle time.Time   // when the last frame will be there
	due  []time.Time // of the frames under way
}

func (w *slowWay) reclaim() (int, error) { return 1000, nil }
func (w *slowWay) asleep() bool          { return false }
func (w *slowWay) wakes() uint64         { return 0 }
func (w *slowWay) ready() bool           { return len(w.due) > 0 && !w.due[0].After(time.Now()) }

func (w *slowWay) send(n int) {
	for range n {
		if now := time.Now(); w.idle.Before(now) {
			w.idle = now
		}
		w.idle = w.idle.Add(w.each)
		w.due = append(w.due, w.idle)
	}
}

func (w *slowWay) arrived() (n int, err error) {
	for ; w.ready(); n++ {
		w.due = w.due[1:]
	}
	return n, nil
}

// Frames are sent when they are due, and a frame's time is that from its own departure, also where
// several are under way. What was sent before the end of the warm-up is not timed.
func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		w := &slowWay{each: 15 * ms}
		p := newPacer([]way{w}, 100, 20*ms, 100*ms)
		for began := time.Now(); time.Since(began) < 200*ms; time.Sleep(ms) {
			if time.Since(began) > 55*ms { // five frames, at 10, 20, 30, 40, 50 ms
				p.each = 0
			}
			if err := p.round(); err != nil {
				t.Fatal(err)
			}
		}
		// They arrive at 25, 40, 55, 70, 85 ms; the first is not timed.
		var got []time.Duration
		for _, b := range p.latency.Histogram.Distribution() {
			for range b.Count {
				got = append(got, time.Duration(b.From).Round(ms))
			}
		}
		want := []time.Duration{20 * ms, 25 * ms, 30 * ms, 35 * ms}
		if len(got) != len(want) {
			t.Fatalf("times %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("times %v, want %v", got, want)
			}
		}
	})
}
