package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// Traces, and how they are shown.

const traceLong = `Show what the switch would do with a frame that came from a port, step by step, without doing it:
nothing is learned, counted or sent. The frame is given as bytes, or made from fields:

  vswitchctl trace vm1 --frame 525400000002525400000001080045...
  vswitchctl trace vm1 --src 52:54:00:00:00:01 --dst 52:54:00:00:00:02 --vlan 10
  vswitchctl trace vm1 --ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto tcp --dport 22

With --next, show what happens to the next real frame from the port, or to the next one that a
filter in tcpdump's syntax selects:

  vswitchctl trace vm1 --next icmp and host 10.0.0.2`

func (c *client) trace() *cobra.Command {
	var frame string
	var next bool
	var timeout time.Duration
	var fields frameFields
	cmd := &cobra.Command{
		Use:   "trace PORT {--frame HEX | FIELDS | --next [FILTER]}",
		Short: "Show what would happen to a frame, step by step",
		Long:  traceLong,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return errors.New("the port that the frame comes from is missing")
			}
			if next {
				return nil
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if next {
				if given := fields.given(cmd.Flags()); given != "" || frame != "" {
					return fmt.Errorf("--next excludes --%s", cmp.Or(given, "frame"))
				}
				return c.traceNext(cmd.Context(), args[0], strings.Join(args[1:], " "), timeout)
			}
			text, err := tracedFrame(cmd, frame, &fields)
			if err != nil {
				return err
			}
			body, err := control.NewClient(c.socket).Trace(cmd.Context(), control.TraceRequest{Port: args[0], Frame: text})
			return show(c, body, err, printTrace)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&frame, "frame", "", "the frame in `HEX` digits, from its destination address on; spaces and colons may separate them")
	fields.flags(flags)
	flags.BoolVar(&next, "next", false, "wait for a frame from the port")
	flags.DurationVar(&timeout, "timeout", 0, "with --next: wait no longer than this `time`; 0: no limit")
	return cmd
}

// traceNext waits for a frame, by one request after the other, and shows what has happened to it.
func (c *client) traceNext(ctx context.Context, port, filter string, timeout time.Duration) error {
	program, err := compileFilter(ctx, filter)
	if err != nil {
		return failure{err}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	daemon := control.NewClient(c.socket)
	for {
		r := control.NextRequest{Port: port, Filter: program, WaitMS: control.MaxWaitMS}
		body, err := daemon.Next(ctx, r)
		if ctx.Err() != nil {
			return failure{errors.New("no such frame has come")}
		}
		var t control.Trace
		if err == nil {
			err = json.Unmarshal(body, &t)
		}
		if err != nil || t.Frame != "" {
			return show(c, body, err, printTrace)
		}
	}
}

// tracedFrame returns the frame of the command line in hexadecimal digits.
func tracedFrame(cmd *cobra.Command, frame string, fields *frameFields) (string, error) {
	given := fields.given(cmd.Flags())
	switch {
	case frame == "" && given == "":
		return "", errors.New("the frame is missing: use --frame, or fields such as --dst")
	case frame != "" && given != "":
		return "", fmt.Errorf("--frame excludes --%s", given)
	case frame != "":
		text := strings.NewReplacer(" ", "", ":", "", "\n", "", "\t", "").Replace(frame)
		if _, err := hex.DecodeString(text); err != nil {
			return "", fmt.Errorf("--frame: %w", err)
		}
		return text, nil
	}
	b, err := fields.build()
	return hex.EncodeToString(b), err
}

// printTrace prints a step in each line.
func printTrace(w *layout.Page, t control.Trace) {
	fields(w, "from", t.Port, "frame", fmt.Sprintf("%d bytes: %s", len(t.Frame)/2, shortHex(t.Frame)))
	fmt.Fprintln(w)
	var rows [][]string
	for _, s := range t.Steps {
		rows = append(rows, []string{s.Stage, s.Port, s.Result, traceDetail(&s)})
	}
	w.Table([]layout.Column{{Title: "STAGE"}, {Title: "PORT"}, {Title: "RESULT", Tone: resultTone}, {Title: "DETAIL", Fold: 20}}, rows)
}

func resultTone(result string) layout.Tone {
	switch result {
	case "drop":
		return layout.Bad
	case "send", "reply":
		return layout.Good
	}
	return layout.Plain
}

// shortHex returns the first digits of a frame.
func shortHex(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

func traceDetail(s *control.TraceStep) string {
	var list []string
	if s.Rule != "" {
		list = append(list, "rule "+s.Rule+" of filter "+s.Filter)
	}
	if s.Reason != "" {
		list = append(list, s.Reason)
	}
	if s.Detail != "" {
		list = append(list, s.Detail)
	}
	if n := len(s.Frames); n == 1 {
		list = append(list, fmt.Sprintf("%d bytes", len(s.Frames[0])/2))
	} else if n > 1 {
		list = append(list, fmt.Sprintf("%d frames", n))
	}
	return strings.Join(list, ", ")
}
