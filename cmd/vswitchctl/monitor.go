package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
)

// Events as they happen.

const monitorLong = `Print what happens, a line for each event, until it is interrupted:

  vswitchctl monitor
  vswitchctl monitor vm1 --kind session,port
  vswitchctl monitor --kind fdb -j | jq -r 'select(.event == "moved") | .detail.mac'

With -j, each line is a JSON object. Without it, a line has the time, the kind of event, the port,
and what has happened. Events are not stored: those before the start are not printed, but --snapshot
begins with what there is. If vswitchd stops, the exit status is 3.`

func (c *client) monitor() *cobra.Command {
	var kinds []string
	var snapshot bool
	cmd := &cobra.Command{
		Use:   "monitor [PORT]",
		Short: "Print events as they happen: ports, front-ends, addresses, loops and changes",
		Long:  monitorLong,
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f control.EventFilter
			for _, k := range kinds {
				if !slices.Contains(eventKinds(), k) {
					return fmt.Errorf("--kind: unknown kind %q%s", k, nearest.Hint(k, eventKinds()))
				}
				f.Kinds = append(f.Kinds, control.EventKind(k))
			}
			if len(args) == 1 {
				f.Port = args[0]
			}
			return c.runMonitor(cmd, f, snapshot)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&kinds, "kind", nil, "only events of these `kinds`: "+strings.Join(eventKinds(), ", "))
	flags.BoolVar(&snapshot, "snapshot", false, "begin with the ports, FDB entries and members of groups that there are")
	// An error says that there is no such flag.
	_ = cmd.RegisterFlagCompletionFunc("kind", completeKinds)
	return cmd
}

func eventKinds() (names []string) {
	for _, k := range control.EventKinds {
		names = append(names, string(k))
	}
	return names
}

// completeKinds completes the last element of a list of kinds.
func completeKinds(_ *cobra.Command, _ []string, word string) (list []cobra.Completion, _ cobra.ShellCompDirective) {
	before := word[:strings.LastIndex(word, ",")+1]
	for _, k := range eventKinds() {
		if !slices.Contains(strings.Split(before, ","), k) {
			list = append(list, before+k)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// runMonitor prints events until a signal comes, or vswitchd ends the stream.
func (c *client) runMonitor(cmd *cobra.Command, f control.EventFilter, snapshot bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	stream, err := control.NewClient(c.socket).Events(ctx, f, snapshot)
	if err == nil {
		defer stream.Close()
		err = c.printEvents(stream)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, io.EOF):
		err = errors.New("the stream of events has ended before its end: vswitchd has died, or events were read too slowly")
	}
	return failure{err}
}

// printEvents prints events until the stream ends. The error is never nil.
func (c *client) printEvents(stream *control.EventReader) error {
	page := &layout.Page{Writer: c.out, Colors: layout.Colors(c.out, c.color)}
	for {
		line, err := stream.Next()
		if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("cannot read the answer of vswitchd: %w", err)
		}
		text := string(line)
		if !c.json {
			text = e.line(page)
		}
		if _, err := fmt.Fprintln(c.out, text); err != nil {
			return err
		}
		if e.Kind == control.EventStream && e.Event == "ended" {
			return fmt.Errorf("%w any more: it was stopped", control.ErrNoDaemon)
		}
	}
}

// An event is the part of a control.Event that all kinds have.
type event struct {
	Time  time.Time
	Kind  control.EventKind
	Event string
	Port  string
	Text  string
}

// line returns the event as a line for people.
func (e *event) line(page *layout.Page) string {
	port := e.Port
	if port == "" {
		port = "-"
	}
	return fmt.Sprintf("%s  %-8s  %-15s  %s", e.Time.Local().Format("15:04:05.000"), e.Kind, port, page.Styled(e.tone(), e.Text))
}

func (e *event) tone() layout.Tone {
	switch e.Kind {
	case control.EventLoop:
		if e.Event == "released" {
			return layout.Good
		}
		return layout.Bad
	case control.EventConflict:
		return layout.Doubt
	}
	switch e.Event {
	case "reset", "refused", "lost":
		return layout.Bad
	case "hint", "waiting":
		return layout.Doubt
	case "running":
		return layout.Good
	}
	return layout.Plain
}
