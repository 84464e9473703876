package load

import (
	"slices"
	"time"
)

// Rate is what went through a back-end in some time. Frames are counted where they arrive.
type Rate struct {
	Size    int      // bytes of each frame
	Windows []Window // what was measured, after the warm-up

	// Of the whole run, from the first frame to the last.
	Sent, Received uint64
}

// A Window is a piece of the time in which was measured.
type Window struct {
	Elapsed        time.Duration
	Waited         time.Duration // as Traffic.Waited says
	Sent, Received uint64
}

// windowTime is how long a window is: long enough for thousands of frames, and short enough to lie
// between two turns of other processes.
const windowTime = 10 * time.Millisecond

// Calm returns the windows in which nobody had to wait for a processor for longer than a twentieth
// of the time.
func (r Rate) Calm() (calm []Window) {
	for _, w := range r.Windows {
		if w.Waited <= w.Elapsed/20 {
			calm = append(calm, w)
		}
	}
	return calm
}

// PPS returns frames per second: the median of the calm windows. 0: there is none.
func (r Rate) PPS() float64 {
	var pps []float64
	for _, w := range r.Calm() {
		pps = append(pps, float64(w.Received)/w.Elapsed.Seconds())
	}
	if len(pps) == 0 {
		return 0
	}
	slices.Sort(pps)
	return pps[len(pps)/2]
}

// BPS returns bits per second.
func (r Rate) BPS() float64 { return r.PPS() * float64(r.Size) * 8 }

// Elapsed returns how long was measured, and how many frames arrived meanwhile.
func (r Rate) Elapsed() (d time.Duration, frames uint64) {
	for _, w := range r.Windows {
		d += w.Elapsed
		frames += w.Received
	}
	return d, frames
}

// Lost returns how many frames the back-end has dropped, over the whole run.
func (r Rate) Lost() int64 { return int64(r.Sent - r.Received) }

// clockEvery is how many rounds go by until the clock is looked at.
const clockEvery = 16

// Saturate keeps all senders' rings full and all receivers' rings supplied, and measures for a
// while after a warm-up.
func (g *Generator) Saturate(warm, measure time.Duration) (Rate, error) {
	all := slices.Concat(g.senders, g.storm)
	for _, s := range all {
		g.send(s, s.pending)
	}
	return g.measure(warm, measure, func(time.Duration) error {
		for _, s := range all {
			if _, err := s.reap(); err != nil {
				return err
			}
			if s.pending >= g.traffic.Batch {
				g.send(s, s.pending)
			}
		}
		return nil
	})
}

// measure does rounds of sending, as send has it, and receiving.
func (g *Generator) measure(warm, measure time.Duration, send func(now time.Duration) error) (r Rate, err error) {
	r = Rate{Size: g.traffic.Size, Sent: g.sent(), Received: g.received()}
	r.Windows, err = windows(warm, measure, g.window, func(now time.Duration) error {
		if err := send(now); err != nil {
			return err
		}
		if err := g.round(); err != nil {
			return err
		}
		g.pause()
		return nil
	})
	if err == nil {
		err = g.settle()
	}
	r.Sent, r.Received = g.sent()-r.Sent, g.received()-r.Received
	return r, err
}

// window returns what is counted so far.
func (g *Generator) window() (Window, error) {
	return Window{Waited: g.waited(), Sent: g.sent(), Received: g.received()}, nil
}

// windows does rounds, and cuts the time after a warm-up into windows. count has what is counted
// from the beginning on.
func windows(warm, measure time.Duration, count func() (Window, error), round func(now time.Duration) error) ([]Window, error) {
	all := make([]Window, 0, measure/windowTime+1)
	start, end := time.Now(), warm
	var w Window // what was counted at its start
	var now time.Duration
	for n := 0; ; n++ {
		if n%clockEvery == 0 {
			if now = time.Since(start); now >= end {
				was := w
				var err error
				if w, err = count(); err != nil {
					return all, err
				}
				w.Elapsed = now
				if end > warm {
					all = append(all, Window{w.Elapsed - was.Elapsed, w.Waited - was.Waited, w.Sent - was.Sent, w.Received - was.Received})
				}
				if now >= warm+measure {
					return all, nil
				}
				end = now + windowTime
			}
		}
		if err := round(now); err != nil {
			return all, err
		}
	}
}

// waited returns Traffic.Waited.
func (g *Generator) waited() time.Duration {
	if g.traffic.Waited == nil {
		return 0
	}
	return g.traffic.Waited()
}

// round takes what has arrived.
func (g *Generator) round() error {
	for _, r := range g.busy {
		if _, err := g.receive(r, g.traffic.Batch); err != nil {
			return err
		}
	}
	return g.attend()
}

// attend takes now and then what has arrived at ports without traffic.
func (g *Generator) attend() error {
	if g.rounds++; g.rounds%quietEvery == 0 {
		for _, r := range g.quiet {
			if _, err := g.receive(r, g.traffic.Batch); err != nil {
				return err
			}
		}
	}
	return nil
}
