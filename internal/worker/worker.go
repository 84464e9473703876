package worker

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"

	"golang.org/x/sys/cpu"
)

const (
	// epollEvery is the interval, in nanoseconds, at which a busy worker checks for events: a
	// system call now and then, not for each batch.
	epollEvery = 20_000

	// epollIdle is the same for a worker that polls and finds nothing. It could check each
	// time, but then a frame that comes meanwhile waits for the system call.
	epollIdle = 2_000

	// pollInterval is the interval, in milliseconds, at which a sleeping worker polls sources
	// that have no FD.
	pollInterval = 1

	// share is how long, in nanoseconds, a port's sources may occupy their worker before other
	// ports get their turn: some batches of small frames.
	share = 10_000

	// A source that had a full batch, MaxBatch, may have more. (Smaller ones come from a driver
	// that is slower than the worker.)
	maxPolls = 4

	// While the worker pauses, a source is armed after this number of pauses without work.
	idlePauses = 4

	wakeID = -1 // epoll's ID for the worker's own eventfd
)

// A worker is one thread. Only its goroutine touches the fields of the last group; others send
// commands.
type worker struct {
	cpu     int
	tid     atomic.Int32 // of its thread; 0: not started
	started time.Time
	clock   func() int64 // nanoseconds since started
	wakeFD  int
	done    chan struct{}
	poll    atomic.Int64 // Config.Poll
	latency atomic.Int64 // Config.Latency

	mu          sync.Mutex
	commands    []command
	hasCommands atomic.Bool   // commands is not empty
	bell        chan struct{} // of capacity 1: there are commands, for a worker that rests
	ended       bool          // wakeFD is about to be closed

	// Written by the worker (moved: by the pool), read by any goroutine.
	sources   atomic.Int32 // without residents
	residents atomic.Int32
	moved     atomic.Uint64 // sources moved here
	published published

	tally   tally
	epfd    int
	entries []*entry           // by epoll's ID; nil: free
	ports   map[any]*portShare // ports with sources here
	rounds  uint64             // number of rounds so far
	floods  floods
	active  []*entry
	noFD    int // number of entries without FD, which are always active
	events  [64]unix.EpollEvent

	resting   bool // only commands are executed
	moderator moderator
	noPauses  bool // the kernel cannot sleep for less than a millisecond
	napAtMost time.Duration
}

// An entry is a source and its worker's state of it.
type entry struct {
	src      Source
	id       int
	active   bool
	idle     bool  // the last Poll found nothing
	lastWork int64 // when the source last had work, by worker.clock
	kicked   int64 // when the kick came that no batch has followed yet; 0: there is none
	work     uint64
	port     *portShare
	flooder  Flooder // src, if it is one; or nil
	flooding bool    // its last batch was a flood
	lap      uint64  // the port's lap in which the source was last polled
	resident bool    // see Pool.AddResident
	pollHistory
	credit pollCredit

	_ cpu.CacheLinePad // what lies behind may be another worker's
}

// A command changes what a worker serves; one without any field does nothing. The worker sends the
// result to reply, if there is one.
type command struct {
	add, remove Source
	port        any     // for add
	resident    **entry // for add: the source is a resident, and this is set to its entry
	wake        *entry
	report      *[]load
	rest, work  bool // begin and end of a rest
	quit        bool
	reply       chan error
}

func start(cpu int, cfg Config) (*worker, error) {
	w := &worker{cpu: cpu, started: time.Now(), done: make(chan struct{}), bell: make(chan struct{}, 1)}
	w.clock = func() int64 { return int64(time.Since(w.started)) }
	w.setPoll(cfg.Poll, cfg.Latency)
	w.noPauses = !canPause()
	if w.napAtMost = pauseAtMost; cfg.Workers > 1 {
		w.napAtMost = sharedPauseAtMost
	}
	var err error
	if w.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if w.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(w.epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := w.watch(w.wakeFD, wakeID); err != nil {
		w.closeFDs()
		return nil, err
	}
	ready := make(chan error)
	go w.run(ready)
	if err := <-ready; err != nil {
		w.closeFDs()
		return nil, err
	}
	return w, nil
}

func (w *worker) closeFDs() {
	unix.Close(w.epfd)
	unix.Close(w.wakeFD)
}

// watch registers fd with epoll, edge-triggered: each write to an eventfd is reported once, and the
// eventfd need not be read.
func (w *worker) watch(fd, id int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(id)}
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching file descriptor %d: %w", fd, err)
	}
	return nil
}

// call sends a command to the worker and waits for the result.
func (w *worker) call(c command) error {
	c.reply = make(chan error, 1)
	if err := w.send(c); err != nil {
		return err
	}
	return <-c.reply
}

// send sends a command to the worker. It does not wait.
func (w *worker) send(c command) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return ErrClosed
	}
	w.commands = append(w.commands, c)
	w.hasCommands.Store(true)
	select {
	case w.bell <- struct{}{}:
	default: // it has been rung
	}
	// The counter is never read; it would overflow only after 2^64 writes.
	if _, err := unix.Write(w.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("waking a worker: %w", err)
	}
	return nil
}

func (w *worker) stop() {
	_ = w.call(command{quit: true})
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.closeFDs()
}

// run is the worker's thread.
func (w *worker) run(ready chan<- error) {
	// Never unlocked: the thread, with its affinity, ends with the goroutine.
	runtime.LockOSThread()
	w.tid.Store(int32(unix.Gettid()))
	debug.SetPanicOnFault(true)
	defer close(w.done)
	// A pause must not take 50 µs longer, which is the default. This cannot fail with 1.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	if w.cpu >= 0 {
		if err := pin(w.cpu); err != nil {
			ready <- err
			return
		}
	}
	ready <- nil
	w.loop()
}

func (w *worker) loop() {
	now := w.clock()
	lastEpoll := int64(0)
	for {
		if w.hasCommands.Load() && w.runCommands(now) {
			return
		}
		before := now
		worked, after := w.round(now)
		if now = after; worked > 0 {
			w.tally.work += uint64(worked)
			w.tally.busy += now - before
			w.moderator.served(worked, now-before)
		} else {
			now = w.clock()
		}
		w.armIdle(now)
		adaptive := w.poll.Load() == int64(PollAdaptive)
		switch {
		case len(w.active) == 0:
			was := now
			now = w.sleep(-1, now)
			w.moderator.slept(was, now)
		case len(w.active) == w.noFD && worked == 0 && w.poll.Load() != int64(PollAlways):
			now = w.sleep(pollInterval, now)
		case adaptive && w.moderator.pause > 0 && worked == 0:
			now = w.pause(now)
		case adaptive && w.moderator.polledLongEnough(now):
			w.moderator.tryPauses(now, w.longestPause())
			continue
		case now-lastEpoll > epollEvery, worked == 0 && now-lastEpoll > epollIdle:
			now = w.look(now, lastEpoll)
		default:
			continue
		}
		lastEpoll = now
	}
}

// poll polls a source once.
func (e *entry) poll(now int64) int {
	n := e.src.Poll()
	if e.idle && n > 0 {
		e.found = true
		e.credit.found(now - e.lastWork)
	}
	if e.idle = n == 0; !e.idle {
		e.work += uint64(n)
		e.lastWork = now
	}
	return n
}

// armIdle arms the sources that have had no work for long enough, and removes those from the active
// ones that still have none.
func (w *worker) armIdle(now int64) {
	poll := w.poll.Load()
	if poll == int64(PollAlways) {
		return
	}
	keep := w.active[:0]
	for _, e := range w.active {
		if e.idle && e.id >= 0 && now-e.lastWork >= w.patience(e, poll) && w.arm(e, now) {
			continue
		}
		keep = append(keep, e)
	}
	clear(w.active[len(keep):])
	w.active = keep
}

// patience returns for how long, in nanoseconds, a source is polled after its last frame.
func (w *worker) patience(e *entry, poll int64) int64 {
	switch {
	case poll != int64(PollAdaptive):
		return e.wait(poll)
	case w.moderator.pause > 0:
		return idlePauses * w.moderator.pause
	}
	return e.credit.wait()
}

// arm arms a source and reports whether the worker can stop polling it until its next event.
func (w *worker) arm(e *entry, now int64) bool {
	if e.src.Arm() {
		e.src.Disarm()
		e.lastWork, e.found = now, true
		return false
	}
	e.active = false
	e.periodEnded()
	if w.moderator.pause == 0 {
		e.credit.armed(now - e.lastWork)
	}
	return true
}

// activateAll makes the sources of the first n events active, which came at a time.
func (w *worker) activateAll(n int, now, came int64) {
	for i := range n {
		id := int(w.events[i].Fd)
		if id == wakeID {
			continue // a command, which the loop finds
		}
		if e := w.entries[id]; !e.active {
			w.activate(e, now)
			e.kicked = came
		}
	}
}

func (w *worker) activate(e *entry, now int64) {
	e.active, e.idle = true, false
	e.lastWork = now
	e.src.Disarm()
	w.active = append(w.active, e)
}

// runCommands executes the commands that have come in, and all that come in while the worker rests.
// It reports whether one of them was to quit.
func (w *worker) runCommands(now int64) (quit bool) {
	for {
		if quit = w.runPending(now); quit || !w.resting {
			return quit
		}
		<-w.bell
		now = w.clock()
	}
}

// runPending executes the commands that have come in.
func (w *worker) runPending(now int64) (quit bool) {
	w.mu.Lock()
	cs := w.commands
	w.commands = nil
	w.hasCommands.Store(false)
	w.mu.Unlock()
	for _, c := range cs {
		var err error
		switch {
		case c.add != nil:
			err = w.add(c, now)
		case c.remove != nil:
			w.remove(c.remove)
		case c.wake != nil:
			w.wake(c.wake, now)
		case c.report != nil:
			*c.report = w.report()
		case c.rest:
			w.resting = true
		case c.work:
			w.resting = false
		case c.quit:
			quit = true
		}
		if c.reply != nil {
			c.reply <- err
		}
	}
	return quit
}

// wake makes a source active, if the worker still has the source.
func (w *worker) wake(e *entry, now int64) {
	if !e.active && e.id < len(w.entries) && w.entries[e.id] == e {
		w.activate(e, now)
	}
}

func (w *worker) add(c command, now int64) error {
	src := c.add
	e := &entry{src: src, id: -1, resident: c.resident != nil}
	e.flooder, _ = src.(Flooder)
	if fd := src.FD(); fd >= 0 {
		id := 0
		for id < len(w.entries) && w.entries[id] != nil {
			id++
		}
		if err := w.watch(fd, id); err != nil {
			return err
		}
		if id == len(w.entries) {
			w.entries = append(w.entries, nil)
		}
		w.entries[id] = e
		e.id = id
	} else {
		w.noFD++
	}
	w.join(c.port, e)
	w.count(e, 1)
	if !e.resident {
		w.activate(e, now)
	} else {
		*c.resident = e
	}
	return nil
}

// count adds n to the number of sources of e's sort.
func (w *worker) count(e *entry, n int32) {
	if e.resident {
		w.residents.Add(n)
	} else {
		w.sources.Add(n)
	}
}

func (w *worker) remove(src Source) {
	for i, e := range w.active {
		if e.src == src {
			w.active = append(w.active[:i], w.active[i+1:]...)
			if e.id < 0 {
				w.noFD--
				w.leave(e)
				w.count(e, -1)
				return
			}
			break
		}
	}
	for id, e := range w.entries {
		if e != nil && e.src == src {
			// The descriptor is still open, so that this cannot fail; if the front-end
			// has replaced its file, epoll drops the registration on its own.
			_ = unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, src.FD(), nil)
			w.entries[id] = nil
			w.leave(e)
			w.count(e, -1)
			return
		}
	}
}
