package loop

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrMemoryGone is the reason for the end of a session whose front-end took away memory that it had
// shared, for example by truncating the file.
var ErrMemoryGone = errors.New("guest memory vanished")

const (
	wakeID       = -1 // epoll's ID for a runner's eventfd
	pollInterval = 1  // of rings without an eventfd for kicks, in milliseconds
)

// A runner is a goroutine that works on some rings.
type runner struct {
	epfd, wakeFD int
	done         chan struct{} // closed when the goroutine has ended

	mu    sync.Mutex
	rings map[int]*ring      // by index
	ready map[*ring]struct{} // to be worked on
	quit  bool
}

func startRunner() (*runner, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wakeFD, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &runner{
		epfd: epfd, wakeFD: wakeFD, done: make(chan struct{}),
		rings: make(map[int]*ring), ready: make(map[*ring]struct{}),
	}
	if err := l.watch(wakeFD, wakeID); err != nil {
		unix.Close(epfd)
		unix.Close(wakeFD)
		return nil, err
	}
	go l.run()
	return l, nil
}

// watch registers fd with epoll, edge-triggered: each write to an eventfd is reported once, and the
// eventfd need not be read, which could block (the front-end controls its mode).
func (l *runner) watch(fd, id int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(id)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching a file descriptor: %w", err)
	}
	return nil
}

// add adds a ring to the runner, which works on it once without a kick.
func (l *runner) add(r *ring) error {
	if r.kick >= 0 {
		if err := l.watch(r.kick, r.request.Ring); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.rings[r.request.Ring] = r
	l.mu.Unlock()
	l.schedule(r)
	return nil
}

// remove removes a ring, which has been stopped, and returns the number of remaining rings.
func (l *runner) remove(r *ring) (left int) {
	if r.kick >= 0 {
		// The eventfd is registered, so this does not fail.
		_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, r.kick, nil)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.rings, r.request.Ring)
	delete(l.ready, r)
	return len(l.rings)
}

// schedule wakes the goroutine to work on a ring.
func (l *runner) schedule(r *ring) {
	l.markReady(r)
	l.wake()
}

func (l *runner) wake() {
	// The counter is never read; it would overflow only after 2^64 writes.
	_, _ = unix.Write(l.wakeFD, []byte{0: 1, 7: 0})
}

// stop ends the goroutine.
func (l *runner) stop() {
	l.mu.Lock()
	l.quit = true
	l.mu.Unlock()
	l.wake()
	<-l.done
	unix.Close(l.epfd)
	unix.Close(l.wakeFD)
}

func (l *runner) run() {
	defer close(l.done)
	debug.SetPanicOnFault(true)
	var (
		events [16]unix.EpollEvent
		turn   []*ring
	)
	for {
		var quit bool
		if turn, quit = l.next(turn[:0]); quit {
			return
		}
		for _, r := range turn {
			if r.work() {
				l.markReady(r)
			}
		}
		n, err := unix.EpollWait(l.epfd, events[:], l.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("loop: epoll_wait: %v", err)) // on our own descriptor
		}
		for _, e := range events[:max(n, 0)] {
			l.kicked(int(e.Fd))
		}
	}
}

// next appends the rings that are ready to turn, and clears their readiness. A ring that becomes
// ready from here on, even while the goroutine is working on it, is not missed.
func (l *runner) next(turn []*ring) (_ []*ring, quit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rings {
		if _, is := l.ready[r]; is || r.kick < 0 {
			turn = append(turn, r)
		}
	}
	clear(l.ready)
	return turn, l.quit
}

// kicked marks the ring with the given index ready, if there is one.
func (l *runner) kicked(index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.rings[index]; r != nil {
		l.ready[r] = struct{}{}
	}
}

// markReady marks a ring ready, unless it has been removed meanwhile.
func (l *runner) markReady(r *ring) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rings[r.request.Ring] == r {
		l.ready[r] = struct{}{}
	}
}

// timeout returns the timeout for epoll, in milliseconds.
func (l *runner) timeout() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quit || len(l.ready) > 0 {
		return 0
	}
	for _, r := range l.rings {
		if r.kick < 0 {
			return pollInterval
		}
	}
	return -1
}
