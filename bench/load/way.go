package load

import (
	"errors"
	"fmt"
	"time"
)

// A way is how frames go from one guest to another. What is measured frame by frame, Offer and
// PingPong, is measured on ways.
type way interface {
	// reclaim takes back what the back-end has taken, and returns how many frames could be sent.
	reclaim() (room int, err error)

	// send sends n frames, for which there is room.
	send(n int)

	// ready reports whether arrived would return more than 0.
	ready() bool

	// arrived returns how many frames have arrived since the last call.
	arrived() (int, error)

	// asleep reports whether the back-end wants to be woken for the next frame.
	asleep() bool

	// wakes returns how often the sender has woken the back-end so far.
	wakes() uint64
}

// A portWay is from the transmitqs of one port to the receiveqs of another.
type portWay struct {
	g    *Generator
	from []*sender
	to   []*receiver
	turn int // sender of the next frames
}

// ways returns the ways of all ports that send.
func (g *Generator) ways() (all []way) {
	byPort := make(map[uint8]*portWay)
	for _, s := range g.senders {
		w := byPort[s.from]
		if w == nil {
			w = &portWay{g: g}
			for _, r := range g.busy {
				if r.port == s.to {
					w.to = append(w.to, r)
				}
			}
			byPort[s.from] = w
			all = append(all, w)
		}
		w.from = append(w.from, s)
	}
	return all
}

func (w *portWay) reclaim() (int, error) {
	room := w.from[0].size
	for _, s := range w.from {
		if _, err := s.reap(); err != nil {
			return 0, err
		}
		room = min(room, s.pending)
	}
	return room * len(w.from), nil
}

func (w *portWay) send(n int) {
	for n > 0 {
		s := w.from[w.turn]
		k := min(n, s.pending)
		w.g.send(s, k)
		n -= k
		w.turn = (w.turn + 1) % len(w.from)
	}
}

func (w *portWay) ready() bool {
	for _, r := range w.to {
		if r.ring.ready() {
			return true
		}
	}
	return false
}

func (w *portWay) arrived() (n int, err error) {
	for _, r := range w.to {
		k, err := w.g.receive(r, 1)
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func (w *portWay) asleep() bool { return w.from[w.turn].ring.armed() }

func (w *portWay) wakes() (n uint64) {
	for _, s := range w.from {
		n += s.kicks
	}
	return n
}

// ping sends one frame and waits for it.
func ping(w way) (time.Duration, error) {
	switch room, err := w.reclaim(); {
	case err != nil:
		return 0, err
	case room == 0:
		return 0, errors.New("the back-end has not taken any of the frames that were sent")
	}
	start := time.Now()
	w.send(1)
	for n := 1; ; n++ {
		// The time is taken before the frame is looked at, and its buffer returned.
		if w.ready() {
			took := time.Since(start)
			_, err := w.arrived()
			return took, err
		}
		if n%1000 == 0 && time.Since(start) > patience {
			return 0, fmt.Errorf("a frame has not arrived within %v", patience)
		}
	}
}
