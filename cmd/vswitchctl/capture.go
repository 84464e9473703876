package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
)

// Captures, and the table of those that run.

// captureOptions are the flags of capture.
type captureOptions struct {
	all       bool
	direction string
	drops     bool
	snaplen   int
	count     uint64
	duration  time.Duration
	buffer    byteSize
	target    captureTarget
}

const captureLong = `Write the frames that pass ports, or that are dropped, as pcapng, to a file, or to
standard output for a program that reads it live:

  vswitchctl capture vm1 | tcpdump -r - -n
  vswitchctl capture --all 'tcp port 80' | wireshark -k -i -
  vswitchctl capture vm1,vm2 -w guests.pcapng --duration 1m arp
  vswitchctl capture --all --drops | tshark -r - -T fields -e frame.comment

The filter has tcpdump's syntax (pcap-filter(7)), and is compiled by tcpdump. It sees the frames
with the tags that they have at the port. Direction "in" is what the switch receives from the port.`

func (c *client) capture() *cobra.Command {
	var o captureOptions
	cmd := &cobra.Command{
		Use:   "capture PORT[,PORT]... [FILTER]",
		Short: "Capture frames as pcapng, for tcpdump and Wireshark",
		Long:  captureLong,
		Args: func(_ *cobra.Command, args []string) error {
			if !o.all && (len(args) == 0 || args[0] == "") {
				return errors.New("the port is missing: name one, or use --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.runCapture(cmd, &o, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.all, "all", false, "capture at all ports, also those that are added later")
	flags.StringVar(&o.direction, "direction", "both", "frames from the port (`in`), to it (out), or both")
	flags.BoolVar(&o.drops, "drops", false, "capture the frames that are dropped, with the reason, instead of those that pass")
	flags.IntVarP(&o.snaplen, "snaplen", "s", 0, "capture `N` bytes of each frame; 0: all")
	flags.Uint64VarP(&o.count, "count", "c", 0, "end after `N` frames; 0: no limit")
	flags.DurationVar(&o.duration, "duration", 0, "end after a `time`, such as 30s; 0: no limit")
	flags.VarP(&o.buffer, "buffer", "B", "memory in vswitchd for frames that have not been read yet, such as 16MiB")
	o.target.flags(flags)
	cmd.AddCommand(c.captureShow(), c.captureStop())
	return cmd
}

// request makes the request for what the command line says.
func (o *captureOptions) request(args []string) (r control.CaptureRequest, err error) {
	if !o.all {
		r.Ports, args = strings.Split(args[0], ","), args[1:]
		for _, p := range r.Ports {
			if p == "" {
				return r, fmt.Errorf("%q: the name of a port is empty", strings.Join(r.Ports, ","))
			}
		}
	}
	switch {
	case !slices.Contains(control.Directions, o.direction):
		return r, fmt.Errorf("--direction: unknown direction %q%s", o.direction, nearest.Hint(o.direction, control.Directions))
	case o.duration < 0, o.duration > 0 && o.duration < time.Millisecond:
		return r, fmt.Errorf("--duration: %v is not possible", o.duration)
	case o.snaplen < 0:
		return r, fmt.Errorf("--snaplen: %d is not possible", o.snaplen)
	}
	r.All, r.Direction, r.Drops, r.Snaplen, r.Count = o.all, o.direction, o.drops, o.snaplen, o.count
	r.DurationMS, r.Buffer = o.duration.Milliseconds(), int(o.buffer)
	r.FilterText = strings.Join(args, " ")
	return r, nil
}

func (c *client) runCapture(cmd *cobra.Command, o *captureOptions, args []string) error {
	r, err := o.request(args)
	if err != nil {
		return err
	}
	if err := o.target.check(c.out, c.json); err != nil {
		return err
	}
	if r.Filter, err = compileFilter(cmd.Context(), r.FilterText); err != nil {
		return failure{err}
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	daemon := control.NewClient(c.socket)
	answer, err := daemon.Capture(ctx, r)
	if err != nil {
		return failure{err}
	}
	defer answer.Close()
	defer stopOnSignal(ctx, daemon, answer.ID, cancel)()
	files, err := o.target.write(c.out, answer)
	captured, lost, ended := answer.Totals()
	switch {
	case err == nil && !ended:
		err = errors.New("vswitchd has ended the capture before its end")
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted; the end of the capture is missing")
	}
	if err != nil {
		return failure{err}
	}
	return c.reportCapture(cmd.ErrOrStderr(), files, captured, lost)
}

// patience is the time after the first signal in which others are taken for the same: timeout(1)
// sends two.
const patience = 500 * time.Millisecond

// stopOnSignal makes the first SIGINT or SIGTERM end the capture in order, and another one, later,
// at once.
func stopOnSignal(ctx context.Context, daemon *control.Client, id int, cancel func()) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		var first time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			switch {
			case !first.IsZero() && time.Since(first) > patience:
				cancel()
				return
			case first.IsZero():
				first = time.Now()
				go func() {
					if _, err := daemon.Delete(ctx, fmt.Sprint("/v1/captures/", id)); err != nil {
						cancel()
					}
				}()
			}
		}
	}()
	return func() { signal.Stop(signals) }
}

// reportCapture says how a capture has ended: to w, because standard output may be the capture.
func (c *client) reportCapture(w io.Writer, files []string, captured, lost uint64) error {
	if c.json {
		data, err := json.Marshal(map[string]any{"captured": captured, "lost": lost, "files": files})
		return show(c, data, err, func(*layout.Page, any) {})
	}
	fmt.Fprintf(w, "%s captured, %s lost\n", frames(captured), count(lost))
	return nil
}

func (c *client) captureShow() *cobra.Command {
	return showAll(c, "/v1/captures", "Show all captures that run", printCaptures)
}

func (c *client) captureStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop ID",
		Short: "End a capture in order, whoever has begun it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the id is missing; capture show has it")
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := control.NewClient(c.socket).Delete(cmd.Context(), "/v1/captures/"+args[0])
			return show(c, body, err, func(w *layout.Page, i control.Capture) { printCaptures(w, []control.Capture{i}) })
		},
	}
}

func printCaptures(w *layout.Page, list []control.Capture) {
	var rows [][]string
	for _, i := range list {
		ports, which := strings.Join(i.Ports, ","), i.Direction
		if i.All {
			ports = "(all)"
		}
		if i.Drops {
			which += " dropped"
		}
		age := (time.Duration(i.AgeS) * time.Second).String()
		rows = append(rows, []string{fmt.Sprint(i.ID), ports, which, age, count(i.Captured), count(i.Lost), cmp.Or(i.Filter, "-")})
	}
	w.Table([]layout.Column{
		number("ID"), listed("PORTS"), {Title: "FRAMES", Fold: 7}, number("AGE"), counted("CAPTURED"), {Title: "LOST", Right: true, Short: shortCount, Tone: dropTone}, listed("FILTER"),
	}, rows)
}

// A byteSize is the value of a flag: bytes, with an optional KiB or MiB.
type byteSize int

var _ pflag.Value = (*byteSize)(nil)

func (b *byteSize) String() string { return fmt.Sprint(int(*b)) }
func (b *byteSize) Type() string   { return "size" }

func (b *byteSize) Set(s string) error {
	n, err := parseSize(s)
	*b = byteSize(n)
	return err
}
