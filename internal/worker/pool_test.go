package worker

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fakeSource is a queue of work units with an eventfd, like a guest's transmit queue: a producer
// that finds it armed kicks.
type fakeSource struct {
	fd               int
	queued           atomic.Int64
	armed            atomic.Bool
	done             atomic.Int64
	inPoll, overlaps atomic.Int32
	polls            atomic.Int64
}

func newFakeSource(t testing.TB) *fakeSource {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	s := &fakeSource{fd: fd}
	s.armed.Store(true)
	return s
}

func (s *fakeSource) FD() int { return s.fd }

func (s *fakeSource) Poll() int {
	if s.inPoll.Add(1) != 1 {
		s.overlaps.Add(1)
	}
	defer s.inPoll.Add(-1)
	s.polls.Add(1)
	n := min(s.queued.Load(), 64)
	s.queued.Add(-n)
	s.done.Add(n)
	return int(n)
}

func (s *fakeSource) Arm() bool {
	s.armed.Store(true)
	return s.queued.Load() > 0
}

func (s *fakeSource) Disarm() { s.armed.Store(false) }

func (s *fakeSource) kick() { unix.Write(s.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (s *fakeSource) produce(n int64) {
	s.queued.Add(n)
	if s.fd >= 0 && s.armed.Load() {
		s.kick()
	}
}

func newPool(t testing.TB, cfg Config) *Pool {
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// until waits for a condition, and fails the test after a long time.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Every unit of work is done, whenever it comes: while the source is polled, while the worker is
// going to sleep, while it is asleep. The test fails if a kick is lost in the race between them.
func TestNoKickIsLost(t *testing.T) {
	for name, poll := range map[string]time.Duration{"never": 0, "short": 5 * time.Microsecond, "long": time.Millisecond, "always": PollAlways, "adaptive": PollAdaptive} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Config{Workers: 2, Poll: poll, Latency: 100 * time.Microsecond})
			var srcs []*fakeSource
			for range 5 {
				s := newFakeSource(t)
				srcs = append(srcs, s)
				if err := p.Add(s); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 2000 {
				for _, s := range srcs {
					s.produce(1)
				}
				if i%3 == 0 {
					want := int64(i + 1)
					for _, s := range srcs {
						until(t, "all work done", func() bool { return s.done.Load() == want })
					}
				}
			}
			for _, s := range srcs {
				until(t, "all work done", func() bool { return s.done.Load() == 2000 })
			}
		})
	}
}

func TestIdleWorkerSleeps(t *testing.T) {
	p := newPool(t, Config{Workers: 1, Poll: 50 * time.Microsecond})
	s := newFakeSource(t)
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	until(t, "the source is armed again", s.armed.Load)
	s.produce(1)
	until(t, "work done", func() bool { return s.done.Load() == 1 })
	until(t, "the source is armed again", s.armed.Load)
	// The source is armed just before the worker sleeps: let the last round end.
	until(t, "no more polls", func() bool {
		n := s.polls.Load()
		time.Sleep(5 * time.Millisecond)
		return n == s.polls.Load()
	})
	if w := p.Stats()[0].Wakeups; w < 1 {
		t.Errorf("%d wakeups counted", w)
	}
}

func TestSourceWithoutFDIsPolled(t *testing.T) {
	p := newPool(t, Config{Workers: 1, Poll: 0})
	s := &fakeSource{fd: -1}
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	s.produce(100)
	until(t, "work done", func() bool { return s.done.Load() == 100 })
	p.Remove(s)
	s.produce(1)
	other := newFakeSource(t)
	if err := p.Add(other); err != nil {
		t.Fatal(err)
	}
	other.produce(1)
	until(t, "work done", func() bool { return other.done.Load() == 1 })
	if n := s.done.Load(); n != 100 {
		t.Errorf("%d units done, but 100 before it was removed", n)
	}
}

// A source may have had work before it was added, for which no kick comes.
func TestSourceIsPolledWhenItIsAdded(t *testing.T) {
	p := newPool(t, Config{Workers: 1, Poll: 0})
	s := newFakeSource(t)
	s.queued.Store(100)
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	until(t, "work done", func() bool { return s.done.Load() == 100 })
}

func TestRemoveWaitsForPoll(t *testing.T) {
	p := newPool(t, Config{Workers: 2, Poll: PollAlways})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				s := newFakeSource(t)
				s.queued.Store(1 << 40)
				if err := p.Add(s); err != nil {
					t.Error(err)
					return
				}
				p.Remove(s)
				if s.inPoll.Load() != 0 {
					t.Error("polled after Remove")
				}
				n := s.polls.Load()
				runtime.Gosched()
				if n != s.polls.Load() {
					t.Error("polled after Remove")
				}
				if s.overlaps.Load() != 0 {
					t.Error("polled by two workers at once")
				}
			}
		})
	}
	wg.Wait()
}

func TestSourcesAreSpread(t *testing.T) {
	p := newPool(t, Config{Workers: 3, Poll: 0})
	for range 9 {
		if err := p.Add(newFakeSource(t)); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range p.Stats() {
		if s.Sources != 3 {
			t.Errorf("worker %d has %d sources", i, s.Sources)
		}
	}
}

func TestBadFDIsRefused(t *testing.T) {
	p := newPool(t, Config{Workers: 1})
	fd, err := unix.MemfdCreate("not pollable", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := p.Add(&fakeSource{fd: fd}); !errors.Is(err, unix.EPERM) {
		t.Errorf("adding a plain file: %v", err)
	}
	if n := p.Stats()[0].Sources; n != 0 {
		t.Errorf("%d sources", n)
	}
}

func TestPinning(t *testing.T) {
	newPool(t, Config{Workers: 1, CPUs: []int{0}})
	if _, err := New(Config{Workers: 1, CPUs: []int{1023}}); err == nil {
		t.Error("pinned to a CPU that does not exist")
	}
}

// A stuckSource is stuck in Poll until it is released.
type stuckSource struct {
	*fakeSource
	enter   func() // may be called more than once
	release chan struct{}
}

func (s *stuckSource) Poll() int {
	s.enter()
	<-s.release
	return 0
}

// Answer waits for a worker that is stuck.
func TestAnswerWaitsForEveryWorker(t *testing.T) {
	p := newPool(t, Config{Workers: 2})
	p.Answer()
	inside := make(chan struct{})
	s := &stuckSource{newFakeSource(t), sync.OnceFunc(func() { close(inside) }), make(chan struct{})}
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	<-inside
	var released atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Answer()
		if !released.Load() {
			t.Error("a stuck worker has answered")
		}
	}()
	for range 1000 {
		runtime.Gosched()
	}
	released.Store(true)
	close(s.release)
	<-done
	p.Close()
	p.Answer() // returns
}

func TestClosedPool(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	p := newPool(t, Config{Workers: 2})
	s := newFakeSource(t)
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Remove(s)
	if err := p.Add(s); !errors.Is(err, ErrClosed) {
		t.Errorf("Add to a closed pool: %v", err)
	}
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("GOMAXPROCS is %d, was %d", n, before)
	}
}

// The garbage collector stops workers, whatever they are doing: one that sleeps does so in a system
// call of which the runtime does not know.
func TestCollectorStopsWorkers(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one":      {Workers: 1, Poll: PollAdaptive, Latency: time.Millisecond},
		"several":  {Workers: 3, Poll: PollAdaptive, Latency: time.Millisecond},
		"by polls": {Workers: 2, Poll: 50 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, cfg)
			for range 50 {
				for _, w := range p.workers {
					_ = w.call(command{}) // wakes the worker, which then sleeps
				}
				runtime.GC()
			}
		})
	}
}
