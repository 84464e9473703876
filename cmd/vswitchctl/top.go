package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/rates"
	"vswitchd/internal/top"
)

const topLong = `Show how many frames and bits per second pass each port, how many are dropped and
why, and how busy the workers are, anew after each interval. FILTER is a part of
the names of the ports that are shown.

On a terminal, keys sort, filter and scroll; ? lists them. Elsewhere, or with
--batch, each interval is printed below the one before, and with -j each is one
JSON object in a line. What comes from the port counts as rx, what goes to the
port as tx.`

// topFlags are the flags of the command.
type topFlags struct {
	interval time.Duration
	count    int
	sort     string
	reverse  bool
	batch    bool
}

func (c *client) top() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:     "top [FILTER]",
		Aliases: []string{"watch"},
		Short:   "Show live rates of all ports, with drops by reason and how busy workers are",
		Long:    topLong,
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config(c, args)
			if err != nil {
				return err
			}
			if out, ok := c.out.(*os.File); ok && !f.batch && !c.json && drawable(out) {
				return failed(top.Run(cmd.Context(), cfg, out, layout.Colors(out, c.color)))
			}
			return failed(c.topBatch(cmd, cfg))
		},
	}
	flags := cmd.Flags()
	flags.DurationVarP(&f.interval, "interval", "i", time.Second, "`time` between two readings, 100ms at least")
	flags.IntVarP(&f.count, "count", "n", 0, "end after `N` intervals; 0: no limit")
	flags.StringVarP(&f.sort, "sort", "s", "name", "sort by this `column`:\n"+strings.Join(top.SortNames(), ", "))
	flags.BoolVarP(&f.reverse, "reverse", "r", false, "reverse the order")
	flags.BoolVarP(&f.batch, "batch", "b", false, "print text, also on a terminal")
	complete(cmd, "sort", top.SortNames())
	return cmd
}

// config makes the configuration that the command line asks for.
func (f *topFlags) config(c *client, args []string) (*top.Config, error) {
	switch {
	case f.interval < 100*time.Millisecond:
		return nil, fmt.Errorf("--interval: is %v, must be 100ms at least", f.interval)
	case f.count < 0:
		return nil, fmt.Errorf("--count: is %d, must not be negative", f.count)
	}
	order, err := top.ParseOrder(f.sort, f.reverse)
	if err != nil {
		return nil, fmt.Errorf("--sort: %w", err)
	}
	return &top.Config{Read: c.reader(), Interval: f.interval, Count: f.count, Order: order, Filter: strings.Join(args, "")}, nil
}

// reader returns a function that reads the counters of the switch.
func (c *client) reader() func(context.Context) (*control.SwitchInfo, error) {
	daemon := control.NewClient(c.socket)
	return func(ctx context.Context) (*control.SwitchInfo, error) {
		body, err := daemon.Get(ctx, "/v1/switch")
		if err != nil {
			return nil, err
		}
		info := &control.SwitchInfo{}
		if err := json.Unmarshal(body, info); err != nil {
			return nil, fmt.Errorf("cannot read the answer of vswitchd: %w", err)
		}
		return info, nil
	}
}

// topBatch prints the intervals one after the other.
func (c *client) topBatch(cmd *cobra.Command, cfg *top.Config) error {
	show := func(i *rates.Interval) error {
		var out bytes.Buffer
		cfg.Text(c.page(&out), i)
		_, err := c.out.Write(out.Bytes())
		return err
	}
	if c.json {
		show = func(i *rates.Interval) error {
			line, err := cfg.JSON(i)
			if err == nil {
				_, err = c.out.Write(line)
			}
			return err
		}
	}
	return top.Each(cmd.Context(), cfg, show, func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "vswitchctl:", text) })
}

// drawable reports whether a file is a terminal on which the cursor can be moved.
func drawable(f *os.File) bool {
	kind := os.Getenv("TERM")
	return term.IsTerminal(f.Fd()) && kind != "" && kind != "dumb"
}

// failed returns an error as that of a command.
func failed(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return failure{err}
}
