// Package compare measures vswitchd side by side with Open vSwitch with DPDK and with DPDK's bare
// vhost library: each back-end gets one processor, the load generator the other one. Frames that
// cross an uplink are measured next to Open vSwitch and a Linux bridge.
//
// Back-ends take turns, A B C A B C and so on, so that what else happens on the machine happens to
// all of them. What is compared are ratios inside a round: the tables have their median, the least
// and the greatest.
//
// The command has to be run as root: DPDK needs huge pages, and threads that move frames run before
// all others while they are measured, for less than a second at a time.
package compare

import (
	"context"
	"errors"
	"regexp"
	"runtime"

	"github.com/spf13/cobra"

	"vswitchd/bench/peer"
	"vswitchd/bench/report"
)

// hugePages are for Open vSwitch, or for two testpmds.
const hugePages = 1024

// options are what the command line says.
type options struct {
	rounds  int
	verbose bool
	quick   bool
	only    string
	before  string
	peers   string
	doc     string
}

// Command returns the command.
func Command() *cobra.Command {
	var o options
	c := peer.Command(&cobra.Command{
		Use:   "compare",
		Short: "Measure vswitchd side by side with OVS-DPDK, DPDK's vhost and a Linux bridge (as root)",
	}, backEndCPU, o.run)
	f := c.Flags()
	f.IntVar(&o.rounds, "rounds", 5, "how often every back-end takes its turn")
	f.BoolVar(&o.quick, "quick", false, "two rounds of the main scenarios")
	f.StringVar(&o.only, "only", "", `regular expression that scenarios' names match; "footprint" is one, too`)
	f.StringVar(&o.before, "before", "", "another vswitchd program, to be compared as well")
	f.StringVar(&o.peers, "peers", "", "regular expression that back-ends' names match")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print each value that is measured")
	f.StringVar(&o.doc, "doc", "", "document whose section of results is replaced")
	return c
}

func (o *options) run(_ context.Context, lab *peer.Lab) error {
	if o.quick {
		o.rounds = min(o.rounds, 2)
	}
	match, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("two processors are needed: one for the back-end, one for the generator")
	}
	b, err := newBench(lab)
	if err != nil {
		return err
	}
	var chosen []scenario
	for _, s := range scenarios {
		if match.MatchString(s.name) && (!o.quick || s.main) {
			chosen = append(chosen, s)
		}
	}
	backEnds, err := o.backEnds()
	if err != nil {
		return err
	}
	needs := match.MatchString(footprintName) && !o.quick
	if len(backEnds) == 0 || len(chosen) == 0 && !needs {
		return errors.New("nothing is chosen")
	}
	if err := lab.HugePages(hugePages); err != nil {
		return err
	}
	r, err := b.rounds(o.rounds, backEnds, chosen, o.verbose)
	if err != nil {
		return err
	}
	text := r.markdown()
	if needs {
		t, err := b.footprint()
		if err != nil {
			return err
		}
		text += t
	}
	return report.Publish(o.doc, "compare", text)
}

// backEnds returns those that are chosen.
func (o *options) backEnds() (chosen []starter, err error) {
	match, err := regexp.Compile(o.peers)
	if err != nil {
		return nil, err
	}
	candidates := starters
	if o.before != "" {
		candidates = append(candidates, starter{"before", true, all, func(l *peer.Lab, po peer.Options) (peer.BackEnd, error) {
			return peer.StartProgram(l, po, "before", o.before)
		}})
	}
	for _, s := range candidates {
		if match.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}
