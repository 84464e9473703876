package vhostuser

import (
	"hash/maphash"
	"slices"
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
// unless on purpose. So a session looks at its eventfds now and then, and when one of them
// may be about to go: when the session ends, and when SET_VRING_CALL replaces one. If a
// counter is full then, the session has ended with ErrJammed, whatever it ends for. All its
// eventfds are replaced by one that is ours alone, so that no thread blocks any more; those
// that are blocked are freed by reading the counters of the old ones.
//
// A front-end that empties the counter itself before we look holds up threads without being
// found. The times to look are random, one in each interval of watchEvery. So whatever a
// front-end does, and however many sessions it takes for that, each look finds it with the
// probability that a thread is held up at that moment: it is found after having held up
// threads for watchEvery, on average. Whoever calls Serve can thus limit the harm by not
// serving a front-end for some time after one that ended with ErrJammed.
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
// random in each interval of watchEvery. A session that begins shortly before such a time
// looks then, too, or sessions that are short enough would never look.
func nextLook(now time.Time) time.Duration {
	interval := now.UnixNano() / int64(watchEvery)
	if at := lookIn(interval); at > now.UnixNano() {
		return time.Duration(at - now.UnixNano())
	}
	return time.Duration(lookIn(interval+1) - now.UnixNano())
}

// lookIn returns the time to look in an interval, in nanoseconds.
func lookIn(interval int64) int64 {
	return interval*int64(watchEvery) + int64(maphash.Comparable(watchSeed, interval)%uint64(watchEvery))
}

// calls is what watches over the eventfds for signals to the driver.
type calls struct {
	next   int           // what a vring's Call is about to be; -1: nothing
	jammed bool          // the front-end has filled a counter
	old    []int         // eventfds that were replaced when that was found
	poll   []unix.PollFd // scratch
}

// watch looks at the session's eventfds until it has ended.
func (s *Session) watch(ended <-chan struct{}) {
	t := time.NewTimer(nextLook(time.Now()))
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
		}
		if s.look() {
			t.Reset(freeEvery)
		} else {
			t.Reset(nextLook(time.Now()))
		}
	}
}

// look ends the session if the counter of an eventfd is full, frees those who are
// blocked in writing to it, and reports whether there is or was one. It does not wait.
func (s *Session) look() (jammed bool) {
	s.mu.Lock() // holding it keeps the descriptors open
	defer s.mu.Unlock()
	if s.full() {
		s.calls.jammed = true
		s.Fail(ErrJammed)
		for _, p := range s.calls.poll {
			s.divert(int(p.Fd))
		}
	}
	for _, fd := range s.calls.old {
		resetCounter(fd)
	}
	return s.calls.jammed
}

// full reports whether the counter of an eventfd is full. It leaves all of them in
// calls.poll.
func (s *Session) full() bool {
	fds := s.calls.poll[:0]
	add := func(fd int) {
		if fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
		}
	}
	for _, v := range s.state.Vrings {
		add(v.Call)
	}
	add(s.calls.next)
	s.calls.poll = fds
	if len(fds) == 0 {
		return false
	}
	for {
		if _, err := unix.Poll(fds, 0); err == nil {
			break
		} else if err != unix.EINTR {
			return false
		}
	}
	// "The file descriptor is writable if it is possible to write a value of at
	// least 1 without blocking" (eventfd(2)).
	return slices.ContainsFunc(fds, func(p unix.PollFd) bool { return p.Revents&unix.POLLOUT == 0 })
}

// divert makes the descriptor fd that of a new eventfd, which the front-end does not have.
// What it was is kept in calls.old. Where there are no descriptors left for that, everything
// stays as it is, and whoever blocks is freed by the next look.
func (s *Session) divert(fd int) {
	own, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		resetCounter(fd)
		return
	}
	defer closeFD(own)
	old, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		resetCounter(fd)
		return
	}
	s.calls.old = append(s.calls.old, old)
	// It can fail only if fd is none, which it is not.
	_ = unix.Dup3(own, fd, unix.O_CLOEXEC)
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
