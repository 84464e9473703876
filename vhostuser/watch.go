package vhostuser

import (
	"hash/maphash"
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
// can do is to hold a thread for about watchEvery, once.
//
// All sessions look at the same times, so that idle ones do not each wake the process
// for themselves.

const (
	watchEvery = 100 * time.Millisecond // on average
	freeEvery  = time.Millisecond       // after a counter was found full
)

// watchSeed is what only this process knows of the times when sessions look.
var watchSeed = maphash.MakeSeed()

// nextLook returns how long it is until the next time to look: there is one at
// random in each interval of watchEvery.
func nextLook(now time.Time) time.Duration {
	next := now.UnixNano()/int64(watchEvery) + 1
	at := next*int64(watchEvery) + int64(maphash.Comparable(watchSeed, next)%uint64(watchEvery))
	return time.Duration(at - now.UnixNano())
}

// watch looks at the session's eventfds until it has ended.
func (s *Session) watch(ended <-chan struct{}) {
	var fds []unix.PollFd
	t := time.NewTimer(nextLook(time.Now()))
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
		}
		var jammed bool
		if fds, jammed = s.unjam(fds[:0]); jammed {
			t.Reset(freeEvery)
		} else {
			t.Reset(nextLook(time.Now()))
		}
	}
}

// unjam ends the session if the counter of an eventfd is full, frees those who are
// blocked in writing to it, and reports whether there was one. It does not wait.
// It uses fds and returns it to be used again.
func (s *Session) unjam(fds []unix.PollFd) (_ []unix.PollFd, jammed bool) {
	s.mu.Lock() // holding it keeps the descriptors open
	defer s.mu.Unlock()
	add := func(fd int) {
		if fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
		}
	}
	for _, v := range s.state.Vrings {
		add(v.Call)
	}
	add(s.nextCall)
	if len(fds) == 0 {
		return fds, false
	}
	if _, err := unix.Poll(fds, 0); err != nil {
		return fds, false // interrupted: next time
	}
	for _, p := range fds {
		// "The file descriptor is writable if it is possible to write a value of at
		// least 1 without blocking" (eventfd(2)).
		if p.Revents&unix.POLLOUT == 0 {
			jammed = true
			s.Fail(ErrJammed)
			resetCounter(int(p.Fd))
		}
	}
	return fds, jammed
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
