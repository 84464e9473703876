package vhostuser

import (
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// Signals that block.
//
// We signal a driver by writing to an eventfd, which has been made non-blocking. But
// the front-end has the same file description: it can make it blocking again at any
// time, and fill its counter, and the next signal waits until somebody reads it. The
// thread that waits is one that other guests' frames depend on, perhaps with a lock
// held, and no way to write to an eventfd is safe from this.
//
// A counter is full after 2^64-2 signals that nobody has read, which is to say never,
// unless on purpose. So a session looks at its eventfds now and then, at times that
// cannot be foreseen, and one that finds a full counter ends; whoever is blocked is
// freed by reading the counter, for as long as it takes. The worst that a connection
// can do is to hold a thread for watchEvery, once.

const (
	watchEvery = 100 * time.Millisecond // on average
	freeEvery  = time.Millisecond       // after a counter was found full
)

// watch looks at the session's eventfds until it has ended.
func (s *Session) watch(ended <-chan struct{}) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
		}
		next := watchEvery/2 + rand.N(watchEvery)
		if s.unjam() {
			next = freeEvery
		}
		t.Reset(next)
	}
}

// unjam ends the session if the counter of an eventfd is full, frees those who are
// blocked in writing to it, and reports whether there was one. It does not wait.
func (s *Session) unjam() (jammed bool) {
	s.mu.Lock() // holding it keeps the descriptors open
	defer s.mu.Unlock()
	free := func(fd int) {
		if fd >= 0 && counterFull(fd) {
			jammed = true
			s.Fail(ErrJammed)
			resetCounter(fd)
		}
	}
	for _, v := range s.state.Vrings {
		free(v.Call)
	}
	free(s.nextCall)
	return jammed
}

// counterFull tells whether adding 1 to an eventfd would block.
func counterFull(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&unix.POLLOUT == 0
}

// resetCounter reads an eventfd, which frees one of those who wait to write to it;
// several times, since the front-end may be among them. RWF_NOWAIT keeps the read
// itself from waiting, whatever the description's mode (since Linux 5.8).
func resetCounter(fd int) {
	buf := make([]byte, 8)
	for range 64 {
		if _, err := unix.Preadv2(fd, [][]byte{buf}, -1, unix.RWF_NOWAIT); err != nil {
			return
		}
	}
}
