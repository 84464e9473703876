// Package generate sends traffic between guests that it plays itself, on the ports of any
// vhost-user back-end, and says what went through: how many frames in a second at most, how soon
// one arrives, and whether all of them arrive as they were sent.
package generate

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
)

// options are what the command line says.
type options struct {
	guest     load.Config
	traffic   load.Traffic
	broadcast bool
	cpu       int
	time      time.Duration
	warm      time.Duration
}

// Command returns the command.
func Command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "generate",
		Short: "Send traffic between the ports of any vhost-user back-end",
		Long: `Send traffic between guests that this program plays itself. The arguments are the sockets of ports;
the first talks to the second, the third to the fourth and so on. A socket that begins with
"listen:" is made here, for a back-end that connects.`,
		Example: "  bench generate saturate --size 64 --flows 1024 --both /run/vswitchd/a.sock /run/vswitchd/b.sock",
	}
	f := root.PersistentFlags()
	f.IntVar(&o.guest.Ring, "ring", 256, "entries of each ring")
	f.IntVar(&o.guest.Queues, "queues", 1, "queue pairs of each port")
	f.BoolVar(&o.guest.Packed, "packed", false, "packed rings")
	f.BoolVar(&o.guest.Offloads, "gso", false, "checksums and segmentation are left to the back-end; frames are TCP and may be 64 KiB long")
	f.BoolVar(&o.broadcast, "broadcast", false, "frames are for everybody")
	f.IntVar(&o.traffic.Size, "size", 64, "bytes of a frame, without FCS")
	f.IntVar(&o.traffic.Flows, "flows", 1, "flows of each sender")
	f.IntVar(&o.traffic.MACs, "macs", 1, "addresses of each port")
	f.IntVar(&o.traffic.Pairs, "pairs", 0, "how many pairs of ports have traffic; 0: all")
	f.BoolVar(&o.traffic.Both, "both", false, "traffic in both directions")
	f.IntVar(&o.traffic.Spin, "spin", 0, "turns of an empty loop between two looks at the rings")
	f.IntVar(&o.traffic.Batch, "batch", 0, "buffers that are recycled at a time")
	f.IntVar(&o.cpu, "cpu", peer.AnyCPU, "processor to run on")
	f.DurationVar(&o.time, "time", 2*time.Second, "how long to measure")
	f.DurationVar(&o.warm, "warm", 500*time.Millisecond, "how long to warm up")

	root.AddCommand(saturateCommand(&o), offerCommand(&o), pingCommand(&o), checkCommand(&o))
	return root
}

func saturateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "saturate SOCKET SOCKET...", Short: "Send as much as the back-end takes", Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, sockets []string) error {
			return o.run(sockets, func(g *load.Generator) error {
				r, err := g.Saturate(o.warm, o.time)
				if err == nil {
					printRate(r)
				}
				return err
			})
		},
	}
}

func offerCommand(o *options) *cobra.Command {
	var pps float64
	c := &cobra.Command{
		Use: "offer --pps N SOCKET SOCKET...", Short: "Send a fixed number of frames per second", Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, sockets []string) error {
			return o.run(sockets, func(g *load.Generator) error {
				o, err := g.Offer(pps, o.warm, o.time)
				if err == nil {
					printRate(o.Rate)
					fmt.Printf("half of them took %v, 99 %% of them %v; the back-end was woken %d times\n", o.Latency.Percentile(50), o.Latency.Percentile(99), o.Wakes)
				}
				return err
			})
		},
	}
	c.Flags().Float64Var(&pps, "pps", 1e5, "frames per second, all in all")
	return c
}

func pingCommand(o *options) *cobra.Command {
	var n int
	var quiet time.Duration
	c := &cobra.Command{
		Use: "ping SOCKET SOCKET", Short: "Measure how long one frame takes", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, sockets []string) error {
			o.traffic.Both = true
			return o.run(sockets, func(g *load.Generator) error {
				l, err := g.PingPong(n, quiet)
				if err != nil {
					return err
				}
				for _, p := range []float64{0, 50, 90, 99, 99.9, 100} {
					fmt.Printf("%5.1f%%  %v\n", p, l.Percentile(p))
				}
				fmt.Printf("the back-end was asleep before %d of %d frames\n", l.Asleep, l.Histogram.TotalCount())
				return nil
			})
		},
	}
	c.Flags().IntVar(&n, "count", 20000, "frames in each direction")
	c.Flags().DurationVar(&quiet, "quiet", 0, "pause before each frame, for the back-end to fall asleep")
	return c
}

func checkCommand(o *options) *cobra.Command {
	var n int
	c := &cobra.Command{
		Use: "check SOCKET SOCKET...", Short: "Send numbered frames and compare what arrives", Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, sockets []string) error {
			return o.run(sockets, func(g *load.Generator) error {
				c, err := g.Check(n)
				if err == nil {
					fmt.Printf("%d frames sent, %d received as they were sent, %d not received, %d also elsewhere\n", c.Sent, c.Received, c.Lost, c.Strays)
				}
				return err
			})
		},
	}
	c.Flags().IntVar(&n, "count", 100_000, "frames of each sender")
	return c
}

func printRate(r load.Rate) {
	fmt.Printf("%.3f Mpps, %.2f Gbit/s; %d of %d frames were dropped\n", r.PPS()/1e6, r.BPS()/1e9, r.Lost(), r.Sent)
}

// run connects guests to the sockets and has measure do its work.
func (o *options) run(sockets []string, measure func(*load.Generator) error) error {
	runtime.LockOSThread()
	if err := peer.Pin(o.cpu); err != nil {
		return err
	}
	switch {
	case o.guest.Offloads:
		o.traffic.Shape = load.GSO
	case o.broadcast:
		o.traffic.Shape = load.Broadcast
	}
	o.guest.MaxFrame = max(o.traffic.Size, 1518)
	var ports []*load.Port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for _, s := range sockets {
		p, err := connect(s, o.guest)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		ports = append(ports, p)
	}
	g, err := load.NewGenerator(ports, o.traffic)
	if err != nil {
		return err
	}
	if err := g.Announce(); err != nil {
		return err
	}
	return measure(g)
}

func connect(socket string, cfg load.Config) (*load.Port, error) {
	path, listen := strings.CutPrefix(socket, "listen:")
	if !listen {
		return load.Dial(path, cfg)
	}
	l, err := load.Listen(path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return load.Accept(l, cfg)
}
