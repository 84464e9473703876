// Package guests measures what Linux guests in QEMU get through vswitchd, side by side with guests
// that are joined by a Linux bridge and tap devices, which QEMU serves itself: iperf3 from one
// guest to another, and to and from a network namespace behind an uplink.
//
// All guests are up at the same time, of which two talk: pairs take turns, so that what else
// happens on the machine happens to all of them. What is compared differs in QEMU's -netdev alone.
// Nobody is kept on a processor or has another priority.
//
// The command has to be run as root: the bridge and what is behind uplinks are in network
// namespaces.
package guests

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/bench/peer"
	"vswitchd/bench/report"
)

// options are what the command line says.
type options struct {
	rounds  int
	verbose bool
	time    time.Duration
	only    string
	doc     string
}

// Command returns the command.
func Command() *cobra.Command {
	var o options
	c := peer.Command(&cobra.Command{
		Use:   "guests",
		Short: "Measure iperf3 between QEMU guests, next to a Linux bridge with taps (as root)",
	}, peer.AnyCPU, o.run)
	f := c.Flags()
	f.IntVar(&o.rounds, "rounds", 5, "how often every pair of guests takes its turn")
	f.DurationVar(&o.time, "time", 2*time.Second, "how long a pair talks each time, in whole seconds")
	f.StringVar(&o.only, "only", "", `regular expression that rows' names match: "no offloads", "^TCP, guest to guest"`)
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print each value that is measured")
	f.StringVar(&o.doc, "doc", "", "document whose section of results is replaced")
	return c
}

func (o *options) run(ctx context.Context, lab *peer.Lab) (err error) {
	match, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	var chosen []scenario
	for _, s := range scenarios() {
		if match.MatchString(s.name()) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no row's name matches %q", o.only)
	}
	networks, err := makeNetworks(lab)
	defer func() { err = errors.Join(err, closeNetworks(networks)) }()
	if err != nil {
		return err
	}
	r, err := measure(ctx, networks, chosen, o.rounds, o.time, o.verbose)
	if err != nil {
		return err
	}
	return report.Publish(o.doc, "guests", r.markdown())
}
