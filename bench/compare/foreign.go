package compare

import (
	"os"
	"time"

	"vswitchd/bench/peer"
)

// observe is how long threads are watched to see which of them moves frames.
const observe = 100 * time.Millisecond

// measureForeign measures with DPDK's generator instead of bench/load's.
func (b *bench) measureForeign(s scenario, be peer.BackEnd) (v value, err error) {
	g, err := peer.StartGenerator(b.lab, generatorCPU, be)
	if err != nil {
		return v, err
	}
	defer g.Stop()
	if err := g.Start(s.load, s.traffic.Size); err != nil {
		return v, err
	}
	priorities, err := busiest(g, be)
	if err != nil {
		return v, err
	}
	err = boosted(priorities, func() error {
		pps, err := g.Measure(measureTime)
		v.x, v.calm = pps/1e6, 100
		return err
	})
	if err != nil {
		return v, err
	}
	return v, g.Halt()
}

// busiest returns the threads that move frames, with the lowest priority, and with a higher
// priority the threads that count the frames meanwhile: the generator's other threads, and all of
// this process.
func busiest(g *peer.Generator, be peer.BackEnd) (priorities map[int]int, err error) {
	theirs, err := be.Work()
	if err != nil {
		return nil, err
	}
	ours, err := g.Work()
	if err != nil {
		return nil, err
	}
	time.Sleep(observe)
	priorities = make(map[int]int)
	asking, err := peer.WorkOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	for tid := range asking {
		priorities[tid] = 2
	}
	now, err := g.Work()
	if err != nil {
		return nil, err
	}
	for tid := range now {
		priorities[tid] = 2
	}
	priorities[now.Since(ours)] = 1
	if now, err = be.Work(); err != nil {
		return nil, err
	}
	priorities[now.Since(theirs)] = 1
	return priorities, nil
}
