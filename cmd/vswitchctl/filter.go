package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// Commands about filters and sets, and their tables.

func (c *client) filterShow() *cobra.Command {
	return showNamed(c, "/v1/filters", "NAME", "Show all filters, or the rules of one, with what they have matched", printFilters, printFilter)
}

func (c *client) setShow() *cobra.Command {
	return showNamed(c, "/v1/sets", "NAME", "Show all sets, or the entries of one", printSets, printSet)
}

// setChange is the command that adds entries to a set, or removes them.
func (c *client) setChange(verb string) *cobra.Command {
	short := "Add addresses, prefixes, ports and ranges of ports to a set"
	if verb == "del" {
		short = "Remove entries from a set"
	}
	var save bool
	cmd := &cobra.Command{
		Use:   verb + " NAME ENTRY...",
		Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || args[0] == "":
				return errors.New("the name of the set is missing")
			case len(args) == 1:
				return errors.New("an entry is missing: an address, a prefix, a port or a range of ports")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if save {
				return c.edit(cmd, &editFlags{save: true}, changeSet(args[0], verb == "del", args[1:]))
			}
			addresses, ports := entriesOf(args[1:])
			entries := &control.SetEntries{Addresses: addresses}
			for _, p := range ports {
				entries.Ports = append(entries.Ports, control.PortRange(p))
			}
			change := control.SetChange{Add: entries}
			if verb == "del" {
				change = control.SetChange{Del: entries}
			}
			body, err := control.NewClient(c.socket).Patch(cmd.Context(), "/v1/sets/"+url.PathEscape(args[0]), change)
			return show(c, body, err, printSet)
		},
	}
	saveFlag(cmd, &save)
	return cmd
}

func printFilters(w *layout.Page, filters []control.Filter) {
	var rows [][]string
	for _, f := range filters {
		total, dropped := uint64(0), uint64(0)
		for _, r := range append(f.Rules, f.Default) {
			switch r.Action {
			case "count":
				continue
			case "drop":
				dropped += r.Frames
			}
			total += r.Frames
		}
		rows = append(rows, []string{
			f.Name, fmt.Sprint(len(f.Rules)), f.Default.Action, cmp.Or(strings.Join(f.Ingress, ","), "-"), cmp.Or(strings.Join(f.Egress, ","), "-"),
			cmp.Or(strings.Join(f.Mirrors, ","), "-"), count(total), count(dropped),
		})
	}
	mirrors, rules := listed("MIRRORS"), number("RULES")
	mirrors.Omit, rules.Omit = 1, 2
	w.Table([]layout.Column{listed("NAME"), rules, {Title: "DEFAULT"}, listed("FROM"), listed("TO"), mirrors, counted("FRAMES"), counted("DROPPED")}, rows)
}

func printFilter(w *layout.Page, f control.Filter) {
	fields(w,
		"filter", f.Name,
		"frames from", cmp.Or(strings.Join(f.Ingress, " "), "-"),
		"frames to", cmp.Or(strings.Join(f.Egress, " "), "-"),
		"mirrors", cmp.Or(strings.Join(f.Mirrors, " "), "-"),
	)
	fmt.Fprintln(w)
	var rows [][]string
	for _, r := range append(f.Rules, f.Default) {
		rows = append(rows, []string{r.Name, r.Action, count(r.Frames), count(r.Bytes), matchText(r.Match)})
	}
	w.Table([]layout.Column{listed("RULE"), {Title: "ACTION"}, counted("FRAMES"), counted("BYTES"), {Title: "MATCH", Fold: 20}}, rows)
}

// matchText returns what a rule matches: keys with their values.
func matchText(match control.Settings) string {
	var parts []string
	for _, s := range match {
		text := fmt.Sprint(s.Value)
		if list, ok := s.Value.([]any); ok {
			text = strings.Trim(strings.Join(strings.Fields(fmt.Sprint(list)), ","), "[]")
		}
		parts = append(parts, s.Key+"="+text)
	}
	return cmp.Or(strings.Join(parts, " "), "-")
}

func printSets(w *layout.Page, sets []control.Set) {
	var rows [][]string
	for _, s := range sets {
		rows = append(rows, []string{s.Name, fmt.Sprint(len(s.Addresses)), fmt.Sprint(len(s.Ports)), cmp.Or(strings.Join(s.Filters, ","), "-")})
	}
	w.Table([]layout.Column{listed("NAME"), number("ADDRESSES"), number("PORTS"), listed("FILTERS")}, rows)
}

func printSet(w *layout.Page, s control.Set) {
	ports := make([]string, len(s.Ports))
	for i, p := range s.Ports {
		ports[i] = string(p)
	}
	fields(w,
		"set", s.Name,
		"addresses", cmp.Or(strings.Join(s.Addresses, " "), "-"),
		"ports", cmp.Or(strings.Join(ports, " "), "-"),
		"filters", cmp.Or(strings.Join(s.Filters, " "), "-"),
	)
}
