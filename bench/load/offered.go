package load

import "time"

// Offered is what became of frames that were sent at a fixed rate.
type Offered struct {
	Rate
	Latency Latency // of the frames that arrived after the warm-up; it means nothing if frames were lost
	Wakes   uint64  // how often the senders have woken the back-end, over the whole run
}

// Offer sends pps frames per second in all, one by one as they are due, and measures for a while
// after a warm-up. A back-end that cannot keep up makes Rate.Sent smaller than it should be.
func (g *Generator) Offer(pps float64, warm, measure time.Duration) (o Offered, err error) {
	g.flush()
	o.Rate = Rate{Size: g.traffic.Size, Sent: g.sent(), Received: g.received()}
	p := newPacer(g.ways(), pps, warm, measure)
	o.Windows, err = windows(warm, measure, g.window, func(time.Duration) error {
		if err := p.round(); err != nil {
			return err
		}
		err := g.attend()
		g.pause()
		return err
	})
	if err == nil {
		err = g.settle()
	}
	o.Latency, o.Wakes = p.latency, p.wakes()
	o.Sent, o.Received = g.sent()-o.Sent, g.received()-o.Received
	return o, err
}

// flush gives receivers all their buffers.
func (g *Generator) flush() {
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			r.offer(r.pending)
		}
	}
}

// A pacer sends frames as they are due, and measures how long each of them takes: frames arrive in
// the order in which they were sent.
type pacer struct {
	streams []stream
	each    float64 // frames per second on each way
	start   time.Time
	warm    time.Duration
	latency Latency
}

// A stream is the frames of a way.
type stream struct {
	way
	sent    []time.Duration // when, since the start, each frame was sent
	arrived int
	woken   uint64 // wakes before the start
}

func newPacer(ways []way, pps float64, warm, measure time.Duration) *pacer {
	p := &pacer{each: pps / float64(len(ways)), start: time.Now(), warm: warm, latency: newLatency()}
	for _, w := range ways {
		room := int(p.each * (warm + measure).Seconds() * 1.1)
		p.streams = append(p.streams, stream{way: w, sent: make([]time.Duration, 0, room), woken: w.wakes()})
	}
	return p
}

func (p *pacer) wakes() (n uint64) {
	for _, f := range p.streams {
		n += f.wakes() - f.woken
	}
	return n
}

// round sends what is due, and takes what has arrived.
func (p *pacer) round() error {
	for i := range p.streams {
		f := &p.streams[i]
		room, err := f.reclaim()
		if err != nil {
			return err
		}
		now := time.Since(p.start)
		if due := int(now.Seconds() * p.each); due > len(f.sent) && room > 0 {
			p.depart(f, min(due-len(f.sent), room), now)
		}
		if f.ready() {
			if err := p.land(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pacer) depart(f *stream, n int, now time.Duration) {
	for range n {
		f.sent = append(f.sent, now)
	}
	f.send(n)
}

func (p *pacer) land(f *stream) error {
	now := time.Since(p.start)
	n, err := f.way.arrived()
	if err != nil {
		return err
	}
	for _, sent := range f.sent[f.arrived:min(f.arrived+n, len(f.sent))] {
		if sent >= p.warm {
			if err := p.latency.Histogram.RecordValue(int64(now - sent)); err != nil {
				return err
			}
		}
	}
	f.arrived += n
	return nil
}
