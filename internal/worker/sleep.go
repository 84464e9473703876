package worker

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// This file has the ways in which a worker waits for events of its sources.

// look makes the sources active that have had events since the worker last looked. It returns the
// time.
func (w *worker) look(now, last int64) int64 {
	w.publish(now)
	n := w.wait(0)
	now = w.clock()
	w.activateAll(n, now, last)
	return now
}

// sleep waits for events, for at most timeout milliseconds (-1: until there is one), and makes
// their sources active. It returns the time.
func (w *worker) sleep(timeout int, now int64) int64 {
	w.publish(now)
	w.published.asleep.Store(true)
	n := 0
	if timeout < 0 {
		n = w.waitShortly(w.napAtMost)
	}
	if n == 0 {
		n = w.wait(timeout)
	}
	w.published.asleep.Store(false)
	woken := w.clock()
	w.tally.wakeups++
	w.tally.slept += woken - now
	w.activateAll(n, woken, woken)
	return woken
}

// pause sleeps for as long as the moderator says, or until a source that is armed has an event. It
// returns the time.
func (w *worker) pause(now int64) int64 {
	w.publish(now)
	n := w.waitShortly(time.Duration(w.moderator.pause))
	woken := w.clock()
	w.tally.pauses++
	w.tally.slept += woken - now
	w.activateAll(n, woken, woken)
	w.moderator.paused(woken, w.longestPause())
	return woken
}

// waitShortly is wait for at most d, if the kernel can do that; if not, it returns at once.
func (w *worker) waitShortly(d time.Duration) int {
	if w.noPauses {
		return 0
	}
	return events(epollPause(w.epfd, w.events[:], d))
}

// wait collects events, for at most timeout milliseconds, and returns their number.
func (w *worker) wait(timeout int) int {
	return events(unix.EpollWait(w.epfd, w.events[:], timeout))
}

// events is a filter for the results of waiting: it returns the number of events.
func events(n int, err error) int {
	if err != nil && !errors.Is(err, unix.EINTR) {
		panic(fmt.Sprintf("epoll_wait on our own descriptor: %v", err))
	}
	return max(n, 0)
}
