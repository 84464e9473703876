// Package soak runs vswitchd under full load for a long time, with guests that come and go, and
// checks that nothing is lost and nothing grows: every frame that went in came out or was counted
// as dropped; memory, goroutines and file descriptors are what they were.
package soak

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
	"vswitchd/bench/progress"
)

// options are what the command line says.
type options struct {
	time, each time.Duration
	workers    int
}

// Command returns the command.
func Command() *cobra.Command {
	var o options
	c := peer.Command(&cobra.Command{
		Use:   "soak",
		Short: "Run vswitchd under full load and check that nothing is lost and nothing grows",
	}, peer.AnyCPU, o.run)
	f := c.Flags()
	f.DurationVar(&o.time, "time", 30*time.Minute, "how long")
	f.DurationVar(&o.each, "each", 10*time.Second, "how long guests stay")
	f.IntVar(&o.workers, "workers", 2, "of vswitchd")
	return c
}

func (o *options) run(_ context.Context, lab *peer.Lab) error {
	line := progress.Stderr("soaking", max(int(o.time/o.each), len(kinds)+1), o.each)
	s, err := soakFor(lab, o.workers, o.time, o.each, line.Step)
	line.End()
	if err != nil {
		return err
	}
	fmt.Printf("%d frames went in, %d came out, %d were counted as dropped\n", s.sent, s.received, s.dropped)
	fmt.Printf("%d rounds; at the end %v, after the first of each kind %v\n", s.rounds, s.now, s.first)
	return nil
}

// soakFor runs vswitchd under load for some time, at least until every load had its turn and
// another one. It calls step when guests come.
func soakFor(lab *peer.Lab, workers int, duration, each time.Duration, step func(string)) (*soak, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	be, err := peer.StartVswitchd(lab, peer.Options{Ports: ports, Workers: workers, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	defer be.Stop()
	s := &soak{be: be, metrics: metrics}
	for end := time.Now().Add(duration); s.rounds <= len(kinds) || time.Now().Before(end); {
		step(fmt.Sprintf("%d frames so far", s.sent))
		if err := s.round(each); err != nil {
			return s, fmt.Errorf("after %d frames: %w", s.sent, err)
		}
	}
	return s, nil
}

// ports are those of vswitchd, of which pairs talk to each other.
const ports = 4

// kinds are the loads that take turns.
var kinds = []load.Traffic{
	{Size: 64, Flows: 256, Both: true},
	{Size: 1500, Flows: 256, Both: true},
	{Size: 590, Flows: 1000, MACs: 1000, Both: true},
}

type soak struct {
	be                      peer.BackEnd
	metrics                 string // address
	rounds                  int
	sent, received, dropped uint64
	first, now              resources
}

// round has guests come, talk for a while, and go.
func (s *soak) round(d time.Duration) error {
	sent, received, dropped, err := s.talk(kinds[s.rounds%len(kinds)], d)
	if err != nil {
		return err
	}
	s.rounds++
	s.sent, s.received, s.dropped = s.sent+sent, s.received+received, s.dropped+dropped
	if sent != received+dropped {
		return fmt.Errorf("%d frames went in, %d came out, %d were counted as dropped", sent, received, dropped)
	}
	if s.rounds <= len(kinds) {
		s.first, err = s.settled(nil)
		return err
	}
	s.now, err = s.settled(&s.first)
	return err
}

// checked is how many frames each sender has compared, byte by byte, in each round.
const checked = 20_000

// talk returns what the back-end took, what arrived, and what it counted as dropped.
func (s *soak) talk(t load.Traffic, d time.Duration) (sent, received, dropped uint64, err error) {
	var guests []*load.Port
	defer func() {
		for _, p := range guests {
			p.Close()
		}
	}()
	for i := range ports {
		p, err := s.be.Connect(i, load.Config{})
		if err != nil {
			return 0, 0, 0, err
		}
		guests = append(guests, p)
	}
	g, err := load.NewGenerator(guests, t)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := g.Announce(); err != nil {
		return 0, 0, 0, err
	}
	before, err := s.be.Drops()
	if err != nil {
		return 0, 0, 0, err
	}
	c, err := g.Check(checked)
	if err != nil {
		return 0, 0, 0, err
	}
	r, err := g.Saturate(0, d)
	if err != nil {
		return 0, 0, 0, err
	}
	after, err := s.be.Drops()
	return c.Sent + r.Sent, c.Received + r.Received, after - before, err
}
