package guests

import (
	"context"
	"fmt"
	"time"

	"vswitchd/bench/progress"
	"vswitchd/test/vm"
)

// results are what was measured.
type results struct {
	networks  []*network
	scenarios []scenario
	values    map[key][]value // all rounds, in order
	line      *progress.Line
}

type key struct {
	network *network
	name    string // the scenario's
}

// measure boots a pair of guests in each network for each device that is needed, and has each pair
// take its turn n times.
func measure(ctx context.Context, networks []*network, scenarios []scenario, n int, d time.Duration, verbose bool) (*results, error) {
	var pairs []*pair
	defer func() {
		for _, p := range pairs {
			p.close()
		}
	}()
	booting, cancel := context.WithTimeout(ctx, 3*vm.BootTimeout) // there are more of them than processors
	defer cancel()
	for i, dev := range used(scenarios) {
		for _, net := range networks {
			p := &pair{network: net, device: dev, port: 2 * i}
			pairs = append(pairs, p)
			if err := p.launch(booting); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range pairs {
		if err := p.ready(booting); err != nil {
			return nil, err
		}
	}
	r := &results{scenarios: scenarios, networks: networks, values: make(map[key][]value)}
	r.line = progress.Stderr("measuring", n*len(networks)*len(scenarios), d+time.Second)
	r.line.Verbose = verbose
	defer r.line.End()
	for round := range n {
		for _, s := range scenarios {
			for i := range networks {
				// Who comes first changes as well.
				net := networks[(i+round)%len(networks)]
				for _, p := range pairs {
					if p.network != net || p.device != s.device {
						continue
					}
					if err := r.turn(ctx, round, p, s, d); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return r, nil
}

// turn has a pair talk.
func (r *results) turn(ctx context.Context, round int, p *pair, s scenario, d time.Duration) error {
	r.line.Step(p.network.name + ", " + s.name())
	v, err := p.talk(ctx, s, round%2 == 1, d)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", p.network.name, s.name(), err)
	}
	r.line.Detail("round %d: %-15s %-52s %6.1f Mbit/s; %6.2f s/GB in guests, %5.2f outside (%.0f + %.0f %%); "+
		"%.0f again, %.1f %% lost (%.1f %% by the guest); %.0f interrupts for 1000 frames",
		round+1, p.network.name, s.name(), v.mbits, v.guests, v.outside, 100*v.guestsLoad, 100*v.outsideLoad,
		v.again, 100*v.lost, 100*v.dropped, v.interrupts)
	k := key{p.network, s.name()}
	r.values[k] = append(r.values[k], v)
	return nil
}
