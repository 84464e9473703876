// Package workers measures what a second worker adds: how fast vswitchd takes bursts with one
// worker and with two, each of which has a processor.
//
// There are as many workers as processors, and the generator needs one as well. So it sleeps while
// vswitchd works: the senders' rings are filled while vswitchd is asleep, all of them are kicked,
// and the time counts until vswitchd has taken the last frame, for which it calls the generator
// (load.Burst). Rings are long, so that waking up is a small part of that time.
//
// What two processors can do at most is measured in the same rounds: by two vswitchds with one
// worker each, which have nothing in common but the machine.
package workers

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
	"vswitchd/bench/progress"
	"vswitchd/bench/report"
)

// options are what the command line says.
type options struct {
	rounds int
	bursts int
	doc    string
}

// Command returns the command.
func Command() *cobra.Command {
	var o options
	c := peer.Command(&cobra.Command{
		Use:   "workers",
		Short: "Measure what a second worker of vswitchd adds (as root)",
	}, peer.AnyCPU, o.run)
	f := c.Flags()
	f.IntVar(&o.rounds, "rounds", 5, "how often each arrangement takes its turn")
	f.IntVar(&o.bursts, "bursts", 40, "how many bursts are measured each time")
	f.StringVar(&o.doc, "doc", "", "document whose section of results is replaced")
	return c
}

// A scenario is what guests send.
type scenario struct {
	name    string
	ports   int
	traffic load.Traffic
	ring    int // entries of each ring: so that a burst takes milliseconds, and fits in the cache
}

// burst returns how many frames each guest sends at once: as many as there is room for where they
// arrive.
func (s *scenario) burst() int {
	if s.traffic.Toward {
		return s.ring / 2
	}
	return s.ring
}

var scenarios = []scenario{
	{"64 B, two pairs of guests, both ways", 4, load.Traffic{Size: 64, Flows: 256, Both: true}, 8192},
	{"1500 B, two pairs of guests, both ways", 4, load.Traffic{Size: 1500, Flows: 256, Both: true}, 2048},
	{"64 B, two guests to a third", 3, load.Traffic{Size: 64, Flows: 256, Toward: true}, 8192},
	{"1500 B, two guests to a third", 3, load.Traffic{Size: 1500, Flows: 256, Toward: true}, 4096},
}

// An arrangement is what takes its turn.
type arrangement struct {
	name      string
	processes int // each has an equal part of the ports
	workers   int // of each
}

var arrangements = []arrangement{
	{"two workers", 1, 2},
	{"one worker", 1, 1},
	{"two vswitchds", 2, 1},
}

func (o *options) run(_ context.Context, lab *peer.Lab) error {
	if runtime.NumCPU() < 2 {
		return errors.New("two processors are needed")
	}
	runtime.LockOSThread()
	line := progress.Stderr("measuring", o.rounds*len(arrangements)*len(scenarios), 2*time.Second)
	defer line.End()
	rates := make(map[string][][]float64)
	for _, s := range scenarios {
		rates[s.name] = make([][]float64, len(arrangements))
	}
	for range o.rounds {
		for _, s := range scenarios {
			for i, a := range arrangements {
				if a.processes > 1 && s.traffic.Toward {
					line.Skip(1)
					continue
				}
				line.Step(a.name + ", " + s.name)
				pps, err := o.measure(lab, a, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", a.name, s.name, err)
				}
				rates[s.name][i] = append(rates[s.name][i], pps/1e6)
			}
		}
	}
	t := report.Table{Title: "Frames delivered in bursts, in millions per second"}
	for _, a := range arrangements {
		t.Subjects = append(t.Subjects, a.name)
	}
	for _, s := range scenarios {
		t.Add(s.name, rates[s.name]...)
	}
	return report.Publish(o.doc, "workers", t.String())
}

// measure returns how many frames an arrangement delivers per second: the median of the bursts.
func (o *options) measure(lab *peer.Lab, a arrangement, s scenario) (pps float64, err error) {
	ports, threads, end, err := start(lab, a, s)
	defer end()
	if err != nil {
		return 0, err
	}
	g, err := load.NewGenerator(ports, s.traffic)
	if err != nil {
		return 0, err
	}
	if err := g.Announce(); err != nil {
		return 0, err
	}
	if _, err := g.Check(s.ring); err != nil {
		return 0, err
	}
	// The generator preempts the workers when vswitchd calls it.
	if err := peer.Boost(unix.Gettid(), 2); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, peer.Relax(unix.Gettid())) }()
	for _, tid := range threads {
		if err := peer.Boost(tid, 1); err != nil {
			return 0, err
		}
	}
	took := make([]time.Duration, o.bursts)
	for i := range took {
		if took[i], err = g.Burst(s.burst()); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	frames := s.burst() * g.Senders()
	return float64(frames) / took[len(took)/2].Seconds(), nil
}

// start starts an arrangement's processes and connects guests. It returns the processes' threads.
// end is to be called in any case.
func start(lab *peer.Lab, a arrangement, s scenario) (ports []*load.Port, threads []int, end func(), err error) {
	var ends []func()
	end = func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
	for i := range a.processes {
		home := lab
		if a.processes > 1 {
			if home, err = peer.NewLab(lab.Build, i); err != nil {
				return nil, nil, end, err
			}
			ends = append(ends, func() { home.Close() })
		}
		n := s.ports / a.processes
		be, err := peer.StartVswitchd(home, peer.Options{Ports: n, Workers: a.workers, Spread: a.processes == 1})
		if err != nil {
			return nil, nil, end, err
		}
		ends = append(ends, be.Stop)
		for k := range n {
			p, err := be.Connect(k, load.Config{Ring: s.ring, MaxFrame: max(s.traffic.Size, 60)})
			if err != nil {
				return nil, nil, end, err
			}
			ends = append(ends, p.Close)
			ports = append(ports, p)
		}
		work, err := be.Work()
		if err != nil {
			return nil, nil, end, err
		}
		for tid := range work {
			threads = append(threads, tid)
		}
	}
	return ports, threads, end, nil
}
