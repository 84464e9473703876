package load

import "time"

// Offer sends pps frames per second in all, one by one as they are due, and measures for a while
// after a warm-up. A back-end that cannot keep up makes Rate.Sent smaller than it should be.
func (g *Generator) Offer(pps float64, warm, measure time.Duration) (Rate, error) {
	g.flush()
	base := make([]uint64, len(g.senders))
	for i, s := range g.senders {
		base[i] = s.total
	}
	each := pps / float64(len(g.senders))
	start := time.Now()
	return g.measure(warm, measure, func(time.Duration) error {
		due := uint64(time.Since(start).Seconds() * each)
		for i, s := range g.senders {
			if _, err := s.reap(); err != nil {
				return err
			}
			given := s.total - base[i] + uint64(s.out())
			if given < due && s.pending > 0 {
				g.send(s, int(min(due-given, uint64(s.pending))))
			}
		}
		return nil
	})
}

// flush gives receivers all their buffers.
func (g *Generator) flush() {
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			r.offer(r.pending)
		}
	}
}
