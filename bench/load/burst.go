package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Burst has each sender send n frames at once, and returns how long the back-end takes for all of
// them, from the first kick to the last call: the back-end calls a sender when it has taken the
// sender's last frame. The thread sleeps meanwhile, so that a back-end can use all processors, also
// the one of the generator. n is at most what the rings hold, which are split rings with event
// indices. The back-end is asleep when a burst begins.
//
// Burst is an error if frames are lost, or the back-end does not fall asleep.
func (g *Generator) Burst(n int) (time.Duration, error) {
	if err := g.settle(); err != nil {
		return 0, err
	}
	g.flush()
	before := g.received()
	for _, s := range g.senders {
		if err := s.prime(n); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	for _, s := range g.senders {
		_, _ = unix.Write(s.kick, one)
	}
	for _, s := range g.senders {
		if err := s.awaitCall(); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	if err := g.settle(); err != nil {
		return 0, err
	}
	if got, want := g.received()-before, uint64(n*len(g.senders)); got != want {
		return 0, fmt.Errorf("%d of %d frames have arrived", got, want)
	}
	return took, nil
}

// prime makes n buffers available, of which the device is to be told later, and is to call for the
// last. The device must want to be told.
func (q *queue) prime(n int) error {
	r, ok := q.ring.(*splitRing)
	if !ok || !r.eventIdx {
		return errors.New("bursts need split rings with event indices")
	}
	if n > q.pending {
		return fmt.Errorf("%d frames at once, the ring has room for %d", n, q.pending)
	}
	for end := time.Now().Add(patience); !r.armed(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("after %v the back-end has not fallen asleep", patience)
		}
	}
	var count [8]byte
	_, _ = unix.Read(q.call, count[:]) // of earlier calls
	q.pending -= n
	q.next = q.at(q.next + n)
	r.prime(n)
	return nil
}

// awaitCall waits for the device's call.
func (q *queue) awaitCall() error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(q.call), Events: unix.POLLIN}}, int(patience/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for a call: %w", err)
		case n == 0:
			return fmt.Errorf("after %v the back-end has not taken all frames", patience)
		default:
			return nil
		}
	}
}

// Senders returns how many transmitqs send.
func (g *Generator) Senders() int { return len(g.senders) }
