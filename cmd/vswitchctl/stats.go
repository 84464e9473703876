package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/top"
)

func (c *client) statsShow() *cobra.Command {
	return showNamed(c, "/v1/stats", "PORT", "Show the counters of all ports, or of one, with drops by reason", printStats,
		func(w *layout.Page, s control.PortStats) { printStats(w, []control.PortStats{s}) })
}

func printCounters(w *layout.Page, kind control.Kind, c control.Counters) {
	pairs := []string{
		"received", traffic(c.RxFrames, c.RxBytes),
		"sent", traffic(c.TxFrames, c.TxBytes),
	}
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
		printCounters(w, s.Kind, s.Counters)
	}
}
