package load

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// A Sleeper is a thread that sleeps until it is woken by an eventfd, and does nothing else. How
// long that takes is the machine's share of what a sleeping back-end takes.
type Sleeper struct {
	epoll, event int
	thread       int
	woken        atomic.Uint64 // how many times the thread has been woken
	stop         atomic.Bool
	done         chan error
}

// NewSleeper starts the thread, which is prepared by prepare.
func NewSleeper(prepare func() error) (*Sleeper, error) {
	s := &Sleeper{epoll: -1, event: -1, done: make(chan error)}
	if err := s.open(); err != nil {
		s.closeFDs()
		return nil, err
	}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		s.thread = unix.Gettid()
		err := prepare()
		ready <- err
		if err == nil {
			s.done <- s.sleep()
		}
	}()
	if err := <-ready; err != nil {
		s.closeFDs()
		return nil, err
	}
	return s, nil
}

func (s *Sleeper) open() (err error) {
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if s.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff}
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, s.event, &ev)
}

func (s *Sleeper) closeFDs() {
	for _, fd := range []int{s.epoll, s.event} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// sleep sleeps again and again, until Close.
func (s *Sleeper) sleep() error {
	for !s.stop.Load() {
		n, err := nap(s.epoll)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_pwait2: %w", err)
		}
		if n > 0 {
			s.woken.Add(1)
		}
	}
	return nil
}

// Thread returns the thread that sleeps.
func (s *Sleeper) Thread() int { return s.thread }

// Close ends the thread.
func (s *Sleeper) Close() error {
	s.stop.Store(true)
	err := <-s.done
	s.closeFDs()
	return err
}

// Wake wakes the thread n times, after it has been quiet for some time each, and measures how long
// it is from the moment when the eventfd is about to be written until the thread runs.
func (s *Sleeper) Wake(n int, quiet time.Duration) (Latency, error) {
	l := Latency{Histogram: hdrhistogram.New(1, int64(time.Minute), 3), Asleep: n}
	for range n {
		for end := time.Now().Add(quiet); time.Now().Before(end); {
		}
		before, start := s.woken.Load(), time.Now()
		if _, err := unix.Write(s.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			return l, fmt.Errorf("waking a thread: %w", err)
		}
		for s.woken.Load() == before {
			if time.Since(start) > patience {
				return l, fmt.Errorf("a thread has not been woken within %v", patience)
			}
		}
		if err := l.Histogram.RecordValue(int64(time.Since(start))); err != nil {
			return l, err
		}
	}
	return l, nil
}
