package load

import (
	"errors"
	"fmt"
)

// Count is what Check has seen.
type Count struct {
	Sent     uint64 // frames, all of them taken by the back-end
	Received uint64 // frames of those, each where it should come
	Strays   uint64 // frames at ports that they were not for: a switch may flood what it does not know
	Lost     uint64 // frames that have not come
}

// Check has each sender send n numbered frames, as fast as the back-end takes them, and compares
// every byte of all that arrives. Check fails if a frame has changed, overtaken another frame of
// its flow, or come twice. Frames that did not come are counted.
func (g *Generator) Check(n int) (Count, error) {
	g.startNumbers()
	defer g.stopNumbers()
	var c Count
	before := g.sent()
	for left := n; left > 0; {
		k := min(left, checkBatch)
		for _, s := range g.senders {
			for todo := k; todo > 0; {
				if _, err := s.reap(); err != nil {
					return c, err
				}
				m := min(todo, s.pending)
				if m > 0 {
					g.stamp(s, m, true)
					s.offer(m)
					todo -= m
				}
				if err := g.receiveAll(); err != nil {
					return c, err
				}
			}
		}
		left -= k
	}
	if err := g.settle(); err != nil {
		return c, err
	}
	c.Sent = g.sent() - before
	g.count(&c)
	return c, nil
}

// checkBatch is how many frames a sender sends before it is the next one's turn.
const checkBatch = 32

// copies is at how many ports a frame should arrive.
func (g *Generator) copies() int {
	if g.maker.shape == Broadcast {
		return len(g.ports) - 1
	}
	return 1
}

func (g *Generator) startNumbers() {
	for _, s := range g.senders {
		clear(s.numbers)
		s.flow = 0
	}
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			r.last = make([][]uint64, len(g.ports))
			r.seen = 0
			r.strays = 0
		}
	}
}

// stopNumbers goes back to frames that are not numbered.
func (g *Generator) stopNumbers() {
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			r.last = nil
		}
	}
	for _, s := range g.senders {
		s.flow = 0
		for i := range s.pending {
			g.maker.restamp(s.buf(s.at(s.next+i)), s.tag(i%len(s.numbers)))
		}
	}
}

// examine looks at the n frames that have just arrived.
func (g *Generator) examine(r *receiver, n int) error {
	for k := range n {
		buf, err := r.received(k)
		if err != nil {
			return err
		}
		t, err := g.maker.parse(buf)
		if errors.Is(err, errForeign) {
			continue
		}
		if err == nil {
			err = g.note(r, t)
		}
		if err != nil {
			return fmt.Errorf("port %d: %w", r.port, err)
		}
	}
	return nil
}

// note takes note of a frame that has arrived as it was sent.
func (g *Generator) note(r *receiver, t tag) error {
	switch {
	case int(t.from) >= len(g.ports) || int(t.flow) >= g.traffic.Flows || t.number == 0:
		return fmt.Errorf("%v was never sent", t)
	case t.to != r.port && g.maker.shape != Broadcast:
		r.strays++
		return nil
	}
	if r.last[t.from] == nil {
		r.last[t.from] = make([]uint64, g.traffic.Flows)
	}
	last := &r.last[t.from][t.flow]
	if t.number <= *last {
		return fmt.Errorf("%v came after frame %d", t, *last)
	}
	*last = t.number
	r.seen++
	return nil
}

// count adds up what the receivers have seen, once nothing more arrives.
func (g *Generator) count(c *Count) {
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			c.Received += r.seen
			c.Strays += r.strays
		}
	}
	c.Lost = c.Sent*uint64(g.copies()) - c.Received
}
