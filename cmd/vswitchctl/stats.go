package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/top"
)

func (c *client) statsShow() *cobra.Command {
	total := false
	path := func(p string) string {
		if !total {
			p += "?since=reset"
		}
		return p
	}
	cmd := &cobra.Command{
		Use:   "show [PORT]",
		Short: "Show the counters of all ports, or of one, with drops by reason",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return get(cmd, c, path("/v1/stats/"+url.PathEscape(args[0])), func(w *layout.Page, s control.PortStats) { printStats(w, []control.PortStats{s}) })
			}
			return get(cmd, c, path("/v1/stats"), printStats)
		},
	}
	cmd.Flags().BoolVar(&total, "total", false, "count from the beginning, also what was before stats reset")
	return cmd
}

const statsResetLong = `Make stats show count from now on, at all ports or at one.

Only stats show counts from there, without --total. All other commands, the metrics and the control
API (without since=reset) keep counting from the start of vswitchd, so that what is computed from
them, such as rates, stays right. Whoever else looks at stats show sees the new counts as well.`

func (c *client) statsReset() *cobra.Command {
	return &cobra.Command{
		Use:   "reset [PORT]",
		Short: "Make stats show count from now on",
		Long:  statsResetLong,
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/stats"
			if len(args) == 1 {
				path += "/" + url.PathEscape(args[0])
			}
			body, err := control.NewClient(c.socket).Delete(cmd.Context(), path)
			return show(c, body, err, func(w *layout.Page, r control.StatsReset) {
				fmt.Fprintf(w, "reset at %s\n", portsText(r.Ports))
			})
		},
	}
}

// printCounters prints names and values, those in first before the counters.
func printCounters(w *layout.Page, kind control.Kind, c control.Counters, first ...string) {
	pairs := append(first,
		"received", traffic(c.RxFrames, c.RxBytes),
		"sent", traffic(c.TxFrames, c.TxBytes),
	)
	for _, reason := range slices.Sorted(maps.Keys(c.Drops)) {
		if n := c.Drops[reason]; n > 0 {
			pairs = append(pairs, "dropped, "+reason, frames(n))
		}
	}
	if text := eventText(c.FDBEvents); text != "" {
		pairs = append(pairs, "fdb events", text)
	}
	if text := eventText(c.McastEvents); text != "" {
		pairs = append(pairs, "multicast events", text)
	}
	if c.NeighReplies > 0 {
		pairs = append(pairs, "neighbor replies", count(c.NeighReplies))
	}
	if text := eventText(c.NeighEvents); text != "" {
		pairs = append(pairs, "neighbor events", text)
	}
	if text := eventText(c.LoopEvents); text != "" {
		pairs = append(pairs, "loop events", text)
	}
	if kind == control.KindGuest {
		if c.Waited > 0 {
			pairs = append(pairs, "waited for buffers", frames(c.Waited))
		}
		pairs = append(pairs, "kicks", count(c.Kicks), "calls", count(c.Calls), "reconnects", count(c.Reconnects))
		for _, reason := range slices.Sorted(maps.Keys(c.Resets)) {
			pairs = append(pairs, "resets, "+reason, count(c.Resets[reason]))
		}
	}
	fields(w, pairs...)
}

// eventOrder are the names of events, in the order of the life of an address or a membership.
var eventOrder = []string{
	"learned", "joined", "left", "moved", "flapped", "expired", "evicted", "static_claims", "held", "limited", "contended", "full",
}

// eventText lists the events that have occurred.
func eventText(t control.Tally) string {
	var parts []string
	// A newer vswitchd may have more events.
	names := append(slices.Clone(eventOrder), slices.Sorted(maps.Keys(t))...)
	for i, name := range names {
		if n := t[name]; n > 0 && slices.Index(names, name) == i {
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+count(n))
		}
	}
	return strings.Join(parts, ", ")
}

func printStats(w *layout.Page, stats []control.PortStats) {
	for i, s := range stats {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, w.Styled(layout.Title, s.Name), "("+string(s.Kind)+",", w.Styled(top.StateTone(string(s.State)), string(s.State))+")")
		since := ""
		if s.Reset {
			since = (time.Duration(s.SinceS) * time.Second).String() + " ago"
		}
		printCounters(w, s.Kind, s.Counters, "reset", since)
	}
}

func portsText(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}
