// Package guests measures what two Linux guests in QEMU get through vswitchd, side by side with two
// that are joined by a Linux bridge and tap devices, which QEMU serves itself: iperf3 from one to
// the other.
//
// All guests are up at the same time, of which two talk: pairs take turns, so that what else
// happens on the machine happens to all of them. What is compared differs in QEMU's -netdev alone.
// Nobody is kept on a processor or has another priority.
//
// The command has to be run as root: the bridge is in a network namespace.
package guests

import (
	"context"
	"errors"
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
	f.DurationVar(&o.time, "time", 4*time.Second, "how long a pair talks each time, in whole seconds")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print each value that is measured")
	f.StringVar(&o.doc, "doc", "", "document whose section of results is replaced")
	return c
}

func (o *options) run(ctx context.Context, lab *peer.Lab) (err error) {
	v, err := startVswitchd(lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	b, err := makeBridge()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	r, err := measure(ctx, []*network{v, b}, devices, o.rounds, o.time, o.verbose)
	if err != nil {
		return err
	}
	return report.Publish(o.doc, "guests", r.markdown())
}
