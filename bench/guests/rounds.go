package guests

import (
	"context"
	"fmt"
	"strings"
	"time"

	"vswitchd/bench/progress"
	"vswitchd/bench/report"
	"vswitchd/test/vm"
)

// A traffic is what a pair talks.
type traffic struct {
	name string
	args []string // of iperf3
}

var traffics = []traffic{
	{"TCP", nil},
	{"UDP", []string{"--udp", "--bitrate", "0"}},
}

// results are what was measured.
type results struct {
	networks []*network
	devices  []device
	values   map[key][]value // all rounds, in order
	line     *progress.Line
}

type key struct {
	network *network
	device  device
	traffic string
}

// row is the name of a row of the tables.
func row(t traffic, d device) string { return t.name + ", " + d.name }

// measure boots a pair of guests for each device in each network, and has each take its turn n
// times.
func measure(ctx context.Context, networks []*network, devices []device, n int, d time.Duration, verbose bool) (*results, error) {
	var pairs []*pair
	defer func() {
		for _, p := range pairs {
			p.close()
		}
	}()
	booting, cancel := context.WithTimeout(ctx, 3*vm.BootTimeout) // there are more of them than processors
	defer cancel()
	for i, dev := range devices {
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
	line := progress.Stderr("measuring", n*len(pairs)*len(traffics), d+time.Second)
	line.Verbose = verbose
	defer line.End()
	r := &results{networks, devices, make(map[key][]value), line}
	for round := range n {
		for i := range pairs {
			// Who comes first changes as well.
			if err := r.turn(ctx, round, pairs[(i+round)%len(pairs)], d); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// turn has a pair talk.
func (r *results) turn(ctx context.Context, round int, p *pair, d time.Duration) error {
	for _, t := range traffics {
		r.line.Step(p.network.name + ", " + row(t, p.device))
		v, err := p.talk(ctx, t, d)
		if err != nil {
			return fmt.Errorf("%s: %w", p.network.name, err)
		}
		r.line.Detail("round %d: %-16s %-36s %5.0f Mbit/s, %5.2f s/GB in guests, %5.2f outside; %d segments again, %.1f%% of datagrams lost",
			round+1, p.network.name, row(t, p.device), v.mbits, v.guests, v.outside, v.again, 100*v.lost)
		k := key{p.network, p.device, t.name}
		r.values[k] = append(r.values[k], v)
	}
	return nil
}

// markdown returns the tables.
func (r *results) markdown() string {
	var b strings.Builder
	for _, table := range []struct {
		report.Table
		of func(value) float64
	}{
		{report.Table{Title: "From one guest's iperf3 to the other's, in Mbit/s"}, func(v value) float64 { return v.mbits }},
		{report.Table{Title: "Processor time of both guests, in seconds for 10⁹ bytes that arrive", Less: true}, func(v value) float64 { return v.guests }},
		{report.Table{Title: "The same of all else: QEMU, vswitchd, and the kernel on their behalf", Less: true}, func(v value) float64 { return v.outside }},
	} {
		for _, n := range r.networks {
			table.Subjects = append(table.Subjects, n.name)
		}
		for _, t := range traffics {
			for _, d := range r.devices {
				var values [][]float64
				for _, n := range r.networks {
					var x []float64
					for _, v := range r.values[key{n, d, t.name}] {
						x = append(x, table.of(v))
					}
					values = append(values, x)
				}
				table.Add(row(t, d), values...)
			}
		}
		b.WriteString(table.String())
	}
	return b.String()
}
