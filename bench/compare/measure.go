package compare

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
)

// The processors.
const (
	backEndCPU   = 0
	generatorCPU = 1
)

// Less than what the kernel lets a thread run before all others, together.
const (
	warmTime    = 150 * time.Millisecond
	measureTime = 500 * time.Millisecond
)

// checked is how many frames each sender has compared, byte by byte, before anything is measured.
const checked = 20_000

// pings is how many frames are timed in each direction.
const pings = 2000

// A bench is where all is measured.
type bench struct{ lab *peer.Lab }

// newBench locks the goroutine to a thread, which is the generator's.
func newBench(lab *peer.Lab) (*bench, error) {
	runtime.LockOSThread()
	if err := peer.Pin(generatorCPU); err != nil {
		return nil, err
	}
	return &bench{lab}, nil
}

// A value is what was measured once.
type value struct {
	x        float64 // in the kind's unit
	dropped  float64 // share of frames
	calm     int     // windows that count, in percent
	busy     float64 // share of its processor that the back-end used for frames, in percent
	sleeping int     // times that the back-end was asleep when a frame was sent, in percent

	// Of frames that are sent at a fixed rate. NaN: frames were lost.
	half, most float64 // microseconds within which half and 99 % of them arrive
	wakes      float64 // times that the back-end is woken, for 1000 frames
}

// measure measures one scenario with a back-end that runs.
func (b *bench) measure(s scenario, be peer.BackEnd) (v value, err error) {
	switch s.kind {
	case foreign:
		return b.measureForeign(s, be)
	case wired:
		return b.measureWired(s, be)
	}
	if sleeper, ok := be.(*peer.Sleeper); ok {
		err := v.wakeUp(s, sleeper)
		return v, err
	}
	if pair, ok := peer.TapPair(be); ok {
		return b.measureTaps(s, be, pair)
	}
	s.guest.MaxFrame = max(s.traffic.Size, 1518)
	var ports []*load.Port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for i := range s.options.Ports {
		p, err := be.Connect(i, s.guest)
		if err != nil {
			return v, err
		}
		ports = append(ports, p)
	}
	clocks, err := newClocks()
	if err != nil {
		return v, err
	}
	defer clocks.close()
	s.traffic.Waited = clocks.waited
	g, err := load.NewGenerator(ports, s.traffic)
	if err != nil {
		return v, err
	}
	if err := g.Announce(); err != nil {
		return v, err
	}
	before, err := be.Drops()
	if err != nil {
		return v, err
	}
	idle, err := be.Work()
	if err != nil {
		return v, err
	}
	c, err := g.Check(checked)
	if err != nil {
		return v, err
	}
	if c.Strays != 0 {
		return v, fmt.Errorf("%d frames went to others as well", c.Strays)
	}
	work, err := clocks.follow(be, idle)
	if err != nil {
		return v, err
	}
	lost := int64(c.Lost)
	if err := boosted(undisturbed(work), func() error {
		n, err := v.take(s, g, be)
		lost += n
		return err
	}); err != nil {
		return v, err
	}
	after, err := be.Drops()
	if err == nil && !s.traffic.Storm && int64(after-before) != lost {
		err = fmt.Errorf("%d frames are missing, the back-end has dropped %d", lost, after-before)
	}
	return v, err
}

// measureTaps measures frames between two guests at tap devices.
func (b *bench) measureTaps(s scenario, be peer.BackEnd, pair *load.TapPair) (v value, err error) {
	clocks, err := newClocks()
	if err != nil {
		return v, err
	}
	defer clocks.close()
	idle, err := be.Work()
	if err != nil {
		return v, err
	}
	if err := pair.Prepare(s.traffic.Size); err != nil {
		return v, err
	}
	work, err := clocks.follow(be, idle)
	if err != nil {
		return v, err
	}
	pair.Waited = clocks.waited
	return v, boosted(undisturbed(work), func() error {
		_, err := v.takeSingles(s, pair, be)
		return err
	})
}

// undisturbed returns priorities for this thread and all threads of a back-end. If only the thread
// that moves frames ran before others, it could wait without end, and keep its processor, for
// something that another thread of its process holds.
func undisturbed(threads peer.Work) map[int]int {
	priorities := map[int]int{unix.Gettid(): 1}
	for tid := range threads {
		priorities[tid] = 1
	}
	return priorities
}

// clocks tell how long threads have waited for their processors: the generator's, which is the
// caller's, and once it is known the one of the back-end that moves frames.
type clocks struct{ ours, theirs peer.Clock }

func newClocks() (c *clocks, err error) {
	c = new(clocks)
	c.ours, err = peer.ThreadClock(os.Getpid(), unix.Gettid())
	return c, err
}

func (c *clocks) waited() time.Duration {
	_, a := c.ours.Read()
	_, b := c.theirs.Read()
	return a + b
}

// follow finds the thread that has worked most since the back-end was idle, and returns what all of
// them have done.
func (c *clocks) follow(be peer.BackEnd, idle peer.Work) (work peer.Work, err error) {
	if work, err = be.Work(); err == nil {
		c.theirs, err = peer.ThreadClock(be.PID(), work.Since(idle))
	}
	return work, err
}

func (c *clocks) close() {
	c.ours.Close()
	c.theirs.Close()
}

// boosted does something while threads run before all others, with the given priorities.
func boosted(priorities map[int]int, f func() error) error {
	for tid, priority := range priorities {
		if err := peer.Boost(tid, priority); err != nil {
			return err
		}
		defer func() {
			if err := peer.Relax(tid); err != nil {
				fmt.Fprintln(os.Stderr, "bench compare:", err)
			}
		}()
	}
	return f()
}

// take measures, once everything is prepared, and returns how many frames were lost.
func (v *value) take(s scenario, g *load.Generator, be peer.BackEnd) (lost int64, err error) {
	if s.kind == saturated {
		return v.rate(g, be)
	}
	return v.takeSingles(s, g, be)
}

// A sender is a load.Generator or a load.TapPair.
type sender interface {
	Offer(pps float64, warm, measure time.Duration) (load.Offered, error)
	PingPong(n int, quiet time.Duration) (load.Latency, error)
}

// takeSingles measures frames that are sent one by one.
func (v *value) takeSingles(s scenario, g sender, be peer.BackEnd) (lost int64, err error) {
	if s.kind == offered {
		return v.usage(s, g, be)
	}
	l, err := g.PingPong(s.pings(), s.quiet)
	if err != nil {
		return 0, err
	}
	v.time(s, l)
	return 0, nil
}

// pings returns how many times something is timed in a scenario, in each direction.
func (s *scenario) pings() int { return pings / (1 + int(s.quiet/time.Millisecond)*9) }

// time sets what was measured in a scenario.
func (v *value) time(s scenario, l load.Latency) {
	v.x = microseconds(l, cmp.Or(s.percentile, 50))
	v.sleeping = 100 * l.Asleep / int(l.Histogram.TotalCount())
}

// wakeUp measures how long it takes to wake a thread.
func (v *value) wakeUp(s scenario, be *peer.Sleeper) error {
	return boosted(undisturbed(peer.Work{be.Thread(): 0}), func() error {
		l, err := be.Wake(2*s.pings(), s.quiet)
		if err == nil {
			v.time(s, l)
		}
		return err
	})
}

// errBusy says that nothing could be measured because of other processes.
var errBusy = errors.New("the machine is too busy: nothing was measured undisturbed")

// errSlow says that a back-end does not carry a load.
var errSlow = errors.New("the back-end is too slow for this load")

// A saturator is a load.Generator or a load.Line.
type saturator interface {
	Saturate(warm, measure time.Duration) (load.Rate, error)
}

// rate measures how many frames arrive, and how busy that keeps the back-end: it should be the
// limit, not the generator.
func (v *value) rate(g saturator, be peer.BackEnd) (lost int64, err error) {
	before, err := be.Usage()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	r, err := g.Saturate(warmTime, measureTime)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	after, err := be.Usage()
	if err != nil {
		return r.Lost(), err
	}
	calm := len(r.Calm())
	if calm < 5 {
		return r.Lost(), errBusy
	}
	v.calm = 100 * calm / len(r.Windows)
	v.busy = share(before, after, took)
	v.x = r.PPS() / 1e6
	v.dropped = float64(r.Lost()) / float64(r.Sent)
	return r.Lost(), nil
}

// microseconds returns within which time p of 100 frames arrive.
func microseconds(l load.Latency, p float64) float64 { return float64(l.Percentile(p)) / 1e3 }

// share returns what share of a processor was used, in percent.
func share(before, after peer.Usage, took time.Duration) float64 {
	return 100 * (after.Done - before.Done) / (after.PerSecond * took.Seconds())
}

// usage measures what a fixed load costs, and how long frames take.
func (v *value) usage(s scenario, g sender, be peer.BackEnd) (lost int64, err error) {
	before, err := be.Usage()
	if err != nil {
		return 0, err
	}
	idle, err := be.Busy()
	if err != nil {
		return 0, err
	}
	r, err := g.Offer(s.pps, 0, measureTime+warmTime)
	if err != nil {
		return 0, err
	}
	busy, err := be.Busy()
	if err != nil {
		return 0, err
	}
	after, err := be.Usage()
	if err != nil {
		return 0, err
	}
	took, _ := r.Elapsed()
	if got := float64(r.Received) / (s.pps * took.Seconds()); got < 0.9 {
		err := errBusy
		if 2*len(r.Calm()) > len(r.Windows) {
			err = errSlow
		}
		return r.Lost(), fmt.Errorf("%w (%.0f%% of the frames arrived)", err, 100*got)
	}
	v.x = share(before, after, took)
	v.busy = share(idle, busy, took)
	v.half, v.most = math.NaN(), math.NaN()
	if r.Lost() == 0 {
		v.half, v.most = microseconds(r.Latency, 50), microseconds(r.Latency, 99)
	}
	v.wakes = 1000 * float64(r.Wakes) / float64(r.Sent)
	return r.Lost(), nil
}
