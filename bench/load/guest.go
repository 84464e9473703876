package load

import (
	"errors"
	"fmt"
	"time"
)

// A portGuest is a vhost-user port's first pair of queues as a guest of a line.
type portGuest struct {
	tx, rx  *queue
	maker   *maker
	sends   bool
	sampled uint64
}

// Guest returns the port, whose rings are idle, as a guest of a line.
func (p *Port) Guest() Guest { return &portGuest{tx: p.tx[0], rx: p.rx[0]} }

func (g *portGuest) fill(m *maker, flows int) error {
	if g.tx.out() != 0 {
		return errors.New("port has traffic already")
	}
	if flows > g.tx.size {
		return fmt.Errorf("%d flows, the ring has %d entries", flows, g.tx.size)
	}
	g.maker = m
	g.tx.setup(headerLen+m.size, false)
	for i := range g.tx.size {
		m.fill(g.tx.buf(g.tx.at(g.tx.next+i)), tagOf(guestEnd, i%flows))
	}
	return nil
}

func (g *portGuest) transmit(m *maker, tags []tag) error {
	g.tx.setup(headerLen+m.size, false)
	for i, t := range tags {
		m.fill(g.tx.buf(g.tx.at(g.tx.next+i)), t)
	}
	g.tx.offer(len(tags))
	return g.drain()
}

// drain waits until the device has taken what was sent.
func (g *portGuest) drain() error {
	for end := time.Now().Add(patience); g.tx.out() != 0; {
		if _, err := g.tx.reap(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v the back-end has not taken %d frames", patience, g.tx.out())
		}
	}
	return nil
}

func (g *portGuest) collect(f func(buf []byte) error) error {
	n, err := g.rx.reap()
	if err != nil {
		return err
	}
	for k := range n {
		buf, err := g.rx.received(k)
		if err == nil {
			err = f(buf)
		}
		if err != nil {
			return err
		}
	}
	g.rx.offer(g.rx.pending)
	return nil
}

func (g *portGuest) begin(send bool) {
	if g.sends = send; send {
		g.tx.offer(g.tx.pending)
	}
}

func (g *portGuest) pump() error {
	if g.sends {
		if _, err := g.tx.reap(); err != nil {
			return err
		}
		if g.tx.pending >= defaultBatch {
			g.tx.offer(g.tx.pending)
		}
		return nil
	}
	n, err := g.rx.reap()
	if err != nil {
		return err
	}
	if n > 0 && g.rx.total-g.sampled >= sampleEvery {
		g.sampled = g.rx.total
		if err := g.sample(); err != nil {
			return err
		}
	}
	if g.rx.pending >= defaultBatch {
		g.rx.offer(g.rx.pending)
	}
	return nil
}

// sample looks at one frame that has arrived, and then makes another of it.
func (g *portGuest) sample() error {
	buf, err := g.rx.received(0)
	if err != nil {
		return err
	}
	if _, err = g.maker.parse(buf); errors.Is(err, errForeign) {
		return nil
	}
	clear(buf)
	return err
}

func (g *portGuest) end() error {
	g.sends = false
	return g.drain()
}

func (g *portGuest) sent() uint64     { return g.tx.total }
func (g *portGuest) received() uint64 { return g.rx.total }
