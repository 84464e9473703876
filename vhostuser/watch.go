package vhostuser

import (
	"hash/maphash"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Signals that block.
//
// A driver is signalled by writing to an eventfd that has been made non-blocking. But the
// front-end shares the file description: it can make it blocking again at any time, and fill its
// counter, and the next signal then waits until the counter is read. The waiting thread is one
// that other guests' frames depend on, perhaps with a lock held, and no way of writing to an
// eventfd is safe from this.
//
// A counter is full after 2^64-2 signals that were not read, which does not happen except on
// purpose. So a session checks its eventfds now and then, and before one of them is closed: when
// the session ends, and when SET_VRING_CALL replaces one. If a counter is full then, the session
// ends with ErrJammed, whatever other reason it has to end. All its eventfds are replaced by a
// private one, so that no more threads block; threads that are blocked are released by reading the
// counters of the old ones.
//
// A front-end that empties the counter itself before the check holds up threads without being
// detected. The times of checks are random, one in each interval of watchEvery. So whatever a
// front-end does, in however many sessions, the probability that a check detects it is the fraction
// of time for which it holds up a thread: on average it is detected after having held up threads
// for watchEvery. The caller of Serve can limit the harm by not serving a front-end for some time
// after a session that ended with ErrJammed.
//
// All sessions check at the same times, so that idle sessions do not each wake the
// process separately.

const (
	watchEvery = 100 * time.Millisecond // on average
	freeEvery  = time.Millisecond       // while threads may be blocked on a full counter
)

// watchSeed keeps the times of checks secret from front-ends.
var watchSeed = maphash.MakeSeed()

// nextCheck returns the time until the next check: there is one at a random time in each interval
// of watchEvery. A session that begins shortly before that time takes part; otherwise sessions that
// are short enough would never be checked.
func nextCheck(now time.Time) time.Duration {
	interval := now.UnixNano() / int64(watchEvery)
	if at := checkIn(interval); at > now.UnixNano() {
		return time.Duration(at - now.UnixNano())
	}
	return time.Duration(checkIn(interval+1) - now.UnixNano())
}

// checkIn returns the time of the check in an interval, in nanoseconds.
func checkIn(interval int64) int64 {
	return interval*int64(watchEvery) + int64(maphash.Comparable(watchSeed, interval)%uint64(watchEvery))
}

// callFDs is the state of checking the eventfds for signals to the driver.
type callFDs struct {
	next   int           // the eventfd that is about to become a vring's Call; -1: none
	jammed bool          // a counter was found full
	old    []int         // the eventfds that were replaced then
	poll   []unix.PollFd // scratch
}

// watch checks the session's eventfds until ended is closed.
func (s *Session) watch(ended <-chan struct{}) {
	t := time.NewTimer(nextCheck(time.Now()))
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
		}
		if s.checkCallFDs() {
			t.Reset(freeEvery)
		} else {
			t.Reset(nextCheck(time.Now()))
		}
	}
}

// checkCallFDs ends the session if the counter of an eventfd is full, releases threads that are
// blocked in writing to it, and reports whether a counter is or was full. It does not wait.
func (s *Session) checkCallFDs() (jammed bool) {
	s.mu.Lock() // holding it keeps the descriptors open
	defer s.mu.Unlock()
	if s.anyFull() {
		s.callFDs.jammed = true
		s.Fail(ErrJammed)
		for _, p := range s.callFDs.poll {
			s.replaceEventFD(int(p.Fd))
		}
	}
	for _, fd := range s.callFDs.old {
		resetCounter(fd)
	}
	return s.callFDs.jammed
}

// anyFull reports whether the counter of any eventfd is full. It leaves all eventfds in
// callFDs.poll.
func (s *Session) anyFull() bool {
	fds := s.callFDs.poll[:0]
	add := func(fd int) {
		if fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
		}
	}
	for _, v := range s.state.Vrings {
		add(v.Call)
	}
	add(s.callFDs.next)
	s.callFDs.poll = fds
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
	// "The file descriptor is writable if it is possible to write a value of at least 1 without
	// blocking" (eventfd(2)).
	return slices.ContainsFunc(fds, func(p unix.PollFd) bool { return p.Revents&unix.POLLOUT == 0 })
}

// replaceEventFD makes the descriptor fd refer to a new eventfd, which the front-end does not have.
// A duplicate of the old one is kept in callFDs.old. If the process has no descriptors left for
// that, only the counter is reset, and threads that block again are released by the next check.
func (s *Session) replaceEventFD(fd int) {
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
	s.callFDs.old = append(s.callFDs.old, old)
	// This can fail only for an invalid descriptor.
	_ = unix.Dup3(own, fd, unix.O_CLOEXEC)
}

// resetCounter reads an eventfd, which releases one of the threads that wait to write to it;
// several times, since the front-end may be among them. RWF_NOWAIT keeps the read itself from
// waiting, whatever the description's mode (since Linux 5.8).
func resetCounter(fd int) {
	buf := make([]byte, 8)
	for range 64 {
		if _, err := unix.Preadv2(fd, [][]byte{buf}, -1, unix.RWF_NOWAIT); err != nil {
			return
		}
	}
}
