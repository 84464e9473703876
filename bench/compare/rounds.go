package compare

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/bench/progress"
)

// results are what was measured: by back-end, scenario and round. Where there is nothing, a
// back-end could not take part.
type results struct {
	backEnds  []starter
	scenarios []scenario
	values    map[key][]value // all rounds, in order
	excuses   map[key]string  // why a back-end does not take part in a scenario
	line      *progress.Line
}

type key struct{ backEnd, scenario string }

// attempts is how often a measurement is tried that other processes disturb, after a pause that is
// respite longer each time.
const (
	attempts = 7
	respite  = time.Second
)

// each is how long a measurement takes, roughly, with its share of starting back-ends.
const each = 2 * time.Second

// rounds has each back-end take its turn n times.
func (b *bench) rounds(n int, backEnds []starter, scenarios []scenario, verbose bool) (*results, error) {
	measurements := 0
	for _, st := range backEnds {
		for _, s := range scenarios {
			if s.isFor(st) {
				measurements += n
			}
		}
	}
	line := progress.Stderr("comparing", measurements, each)
	line.Verbose = verbose
	defer line.End()
	r := &results{backEnds, scenarios, make(map[key][]value), make(map[key]string), line}
	for round := range n {
		for i := range backEnds {
			// Who comes first changes as well.
			s := backEnds[(i+round)%len(backEnds)]
			for _, o := range runs(scenarios, s) {
				line.Detail("round %d of %d: %s", round+1, n, s.name)
				if err := b.turn(r, s, o); err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
			}
		}
	}
	return r, nil
}

// A process is what scenarios have to have in common to be measured with one process.
type process struct {
	options peer.Options
	foreign bool
}

func (s *scenario) process() process { return process{s.options, s.kind == foreign} }

// isFor reports whether a scenario is measured with a back-end.
func (s *scenario) isFor(st starter) bool { return st.takesPart(s.kind) && (!s.alone || st.ours) }

// runs returns the processes that a back-end is measured with, in order.
func runs(scenarios []scenario, st starter) (all []process) {
	for _, s := range scenarios {
		if p := s.process(); !slices.Contains(all, p) && s.isFor(st) {
			all = append(all, p)
		}
	}
	return all
}

// turn starts a back-end, measures all scenarios that one process is for, and ends it.
func (b *bench) turn(r *results, st starter, p process) error {
	be, err := st.start(b.lab, p.options)
	if err != nil {
		return err
	}
	defer be.Stop()
	for _, s := range r.scenarios {
		if s.process() != p || !s.isFor(st) {
			continue
		}
		k := key{st.name, s.name}
		if r.excuses[k] != "" {
			r.line.Skip(1)
			continue
		}
		r.line.Step(st.name + ", " + s.name)
		v, err := b.try(s, be)
		if err != nil && (r.mayExcuse(s) || errors.Is(err, errSlow)) {
			r.excuses[k] = err.Error()
			r.line.Print("%s takes no part in %s: %v", st.name, s.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		detail := fmt.Sprintf("  %-52s %8.3f", s.name, v.x)
		if s.kind == saturated || s.kind == wired {
			detail += fmt.Sprintf("  %d%% of the time undisturbed, %.0f%% busy, %.2f%% dropped", v.calm, v.busy, 100*v.dropped)
		}
		r.line.Detail("%s", detail)
		r.values[k] = append(r.values[k], v)
	}
	return nil
}

// mayExcuse reports whether a back-end need not take part in a scenario: it may not have what that
// is about.
func (r *results) mayExcuse(s scenario) bool { return s.options.Offloads }

// try measures, again if the machine was too busy.
func (b *bench) try(s scenario, be peer.BackEnd) (v value, err error) {
	for n := range attempts {
		time.Sleep(time.Duration(n) * respite)
		if v, err = b.measure(s, be); !errors.Is(err, errBusy) {
			return v, err
		}
	}
	return v, err
}
