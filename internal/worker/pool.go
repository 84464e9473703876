package worker

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Values of Config.Poll that are no durations.
const (
	PollAlways   time.Duration = -1 // workers never sleep while they have a source
	PollAdaptive time.Duration = -2 // what costs less, within Config.Latency; see moderate.go
)

// ErrClosed is returned by a Pool that has been closed.
var ErrClosed = errors.New("worker pool is closed")

// Config describes a Pool.
type Config struct {
	Workers int   // number of threads, at least 1
	CPUs    []int // worker i is pinned to CPUs[i], if there is one

	// Poll is how long a source is polled after its last frame, if polling it pays; 0: not at
	// all. See also PollAlways and PollAdaptive.
	Poll time.Duration

	// Latency is, with PollAdaptive, how long frames may wait, so that several can be served
	// together.
	Latency time.Duration
}

// A Pool is a set of workers. Its methods may be called from any goroutine except a worker's.
type Pool struct {
	workers []*worker
	procs   int // GOMAXPROCS before the pool was made

	mu       sync.Mutex
	where    map[Source]*worker
	ports    map[Source]any // by source in the pool
	closed   bool
	balancer balancer

	quit      chan struct{}
	balancing sync.WaitGroup
}

// New starts the workers.
//
// Each worker raises GOMAXPROCS by one: a busy worker never yields its processor, and the control
// plane must not have to wait for a processor.
func New(cfg Config) (*Pool, error) {
	if cfg.Workers < 1 {
		return nil, fmt.Errorf("worker pool: %d workers", cfg.Workers)
	}
	p := &Pool{where: make(map[Source]*worker), ports: make(map[Source]any), quit: make(chan struct{})}
	p.procs = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(p.procs + cfg.Workers)
	for i := range cfg.Workers {
		cpu := -1
		if i < len(cfg.CPUs) {
			cpu = cfg.CPUs[i]
		}
		w, err := start(cpu, cfg)
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("worker %d: %w", i, err)
		}
		p.workers = append(p.workers, w)
	}
	p.balancer = balancer{at: time.Now(), busy: make([]int64, cfg.Workers)}
	if cfg.Workers > 1 {
		p.balancing.Go(p.balance)
	}
	return p, nil
}

// Add assigns a source to the worker that has the fewest; the source may be moved to another worker
// when the amount of work is known. The source is polled once right away, whether its FD is
// readable or not.
func (p *Pool) Add(src Source) error { return p.AddTo(src, src) }

// AddTo is Add for a source of a port that may have several sources. Every port gets the same share
// of a busy worker's time, however many sources the port has there. port identifies the port: it is
// the same value for all its sources, and can be a map's key.
func (p *Pool) AddTo(port any, src Source) error {
	_, err := p.add(command{add: src, port: port}, func(w *worker) int32 { return w.sources.Load() })
	return err
}

// AddResident is AddTo for a source that seldom has work, and must have an FD. It is not polled
// right away, does not count among the sources of its worker, and stays with that worker.
//
// wake makes the worker poll the source, as an event of the FD does. It may be called from any
// goroutine, does not wait, and has no effect after the source was removed.
func (p *Pool) AddResident(port any, src Source) (wake func(), err error) {
	if src.FD() < 0 {
		return nil, errors.New("a resident source needs a file descriptor")
	}
	var e *entry
	home, err := p.add(command{add: src, port: port, resident: &e}, func(w *worker) int32 { return w.residents.Load() })
	if err != nil {
		return nil, err
	}
	return func() { _ = home.send(command{wake: e}) }, nil // fails only when the pool is closed
}

// add assigns a source to the worker that has the fewest by count, and returns that worker.
func (p *Pool) add(c command, count func(*worker) int32) (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if p.where[c.add] != nil {
		return nil, errors.New("source is already in the pool")
	}
	w := slices.MinFunc(p.workers, func(a, b *worker) int { return cmp.Compare(count(a), count(b)) })
	if err := w.call(c); err != nil {
		return nil, err
	}
	p.where[c.add], p.ports[c.add] = w, c.port
	return w, nil
}

// Remove removes a source. When it returns, no worker is in any of the source's methods nor will
// be; its FD may be closed. Removing a source that is not in the pool has no effect.
func (p *Pool) Remove(src Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.where[src]
	if w == nil {
		return
	}
	delete(p.where, src)
	delete(p.ports, src)
	// A removal cannot fail: the worker has the source.
	_ = w.call(command{remove: src})
}

// SetPoll changes Config.Poll and Config.Latency.
func (p *Pool) SetPoll(poll, latency time.Duration) {
	for _, w := range p.workers {
		w.setPoll(poll, latency)
	}
}

func (w *worker) setPoll(poll, latency time.Duration) {
	w.poll.Store(int64(poll))
	w.latency.Store(int64(latency))
}

// Answer returns when each worker has finished the round that it was in. It does not return while a
// worker is stuck, in a source's method for example. After Close it returns at once.
func (p *Pool) Answer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, w := range p.workers {
		_ = w.call(command{}) // fails only if the worker's eventfd is broken: then nothing works
	}
}

// Close removes all sources and ends the workers.
func (p *Pool) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.quit)
	p.mu.Unlock()
	p.balancing.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.where)
	clear(p.ports)
	for _, w := range p.workers {
		w.stop()
	}
	runtime.GOMAXPROCS(p.procs)
}

// Stats are the counters of one worker since it was started. Those of a worker that is awake are up
// to 20 microseconds old.
type Stats struct {
	CPU     int           // the CPU that the worker is pinned to; -1: none
	Sources int           // number of its sources
	Asleep  bool          // whether it waits for events
	Pausing bool          // whether it pauses between polls, and is not asleep
	Busy    time.Duration // time spent in rounds that had work
	Awake   time.Duration // time that it was not asleep
	Up      time.Duration // time since it was started
	Work    uint64        // frames (or whatever Poll counts) processed
	Wakeups uint64        // number of times it was woken from sleep
	Pauses  uint64        // number of pauses: sleeps of a fixed time, with notifications off
	Moved   uint64        // sources that were moved to it because another worker was busier

	// Time of a processor that its thread has used, and time for which the thread was ready to run
	// and waited for a processor. Zero if the kernel does not tell.
	Ran, Waited time.Duration

	EmptyPolls uint64                   // polls of sources that found nothing
	Batches    [len(BatchBounds)]uint64 // polls that found at most BatchBounds[i] frames, and more than the previous bound
	Latencies  Latencies
}

// Latencies are times from a kick, or an event of a socket, to the end of the first batch that
// followed. A kick is taken to have come when the worker woke; if it was awake, when it had last
// looked for events, which is too early by up to 20 microseconds, or a batch's time.
type Latencies struct {
	Counts [len(LatencyBounds) + 1]uint64 // of latencies up to LatencyBounds[i], and beyond the previous bound
	Sum    time.Duration
}

// Stats returns the workers' counters, worker 0 first.
func (p *Pool) Stats() []Stats {
	s := make([]Stats, len(p.workers))
	for i, w := range p.workers {
		s[i] = w.stats()
	}
	return s
}

func (w *worker) stats() Stats {
	p := &w.published
	ran, waited := schedTimes(int(w.tid.Load()))
	s := Stats{
		CPU:     w.cpu,
		Sources: int(w.sources.Load()),
		Asleep:  p.asleep.Load(),
		Pausing: p.pausing.Load() && !p.asleep.Load(),
		Busy:    time.Duration(p.busy.Load()),
		Awake:   time.Duration(p.awake.Load()),
		Up:      time.Since(w.started),
		Work:    p.work.Load(),
		Wakeups: p.wakeups.Load(),
		Pauses:  p.pauses.Load(),
		Moved:   w.moved.Load(),
		Ran:     ran,
		Waited:  waited,

		EmptyPolls: p.polls[0].Load(),
		Latencies:  p.latencies.load(),
	}
	for i := range s.Batches {
		s.Batches[i] = p.polls[i+1].Load()
	}
	return s
}
