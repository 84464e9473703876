package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/ranges"
)

// columns prints rows with their columns aligned, separated by two blanks. The columns whose
// indices are in right are aligned to the right.
func columns(w io.Writer, right []int, rows [][]string) {
	width := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if slices.Contains(right, i) {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// fields prints names and values, one pair per line, without empty values.
func fields(w io.Writer, pairs ...string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	tw.Flush()
}

func printSwitch(w io.Writer, s control.SwitchInfo) {
	fields(w,
		"version", s.Version,
		"uptime", (time.Duration(s.UptimeS) * time.Second).String(),
		"ports", portCount(s.Ports),
		"fdb", fmt.Sprintf("%d of %d entries, aging %v", s.FDBEntries, s.FDBSize, time.Duration(s.MACAgingS)*time.Second),
		"fdb events", eventText(s.FDBEvents),
		"received", traffic(s.Totals.RxFrames, s.Totals.RxBytes),
		"sent", traffic(s.Totals.TxFrames, s.Totals.TxBytes),
		"dropped", frames(s.Totals.Drops.Total()),
	)
	if len(s.Workers) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{{"WORKER", "CPU", "BUSY", "FRAMES", "WAKEUPS"}}
		for i, k := range s.Workers {
			cpu := "any"
			if k.CPU >= 0 {
				cpu = strconv.Itoa(k.CPU)
			}
			rows = append(rows, []string{strconv.Itoa(i), cpu, fmt.Sprintf("%.1f %%", 100*k.BusyRatio), count(k.Frames), count(k.Wakeups)})
		}
		columns(w, []int{1, 2, 3, 4}, rows)
	}
	if len(s.Ports) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{{"PORT", "KIND", "STATE", "RX FRAMES", "TX FRAMES", "DROPPED"}}
		for _, p := range s.Ports {
			c := p.Counters
			rows = append(rows, []string{p.Name, string(p.Kind), string(p.State), count(c.RxFrames), count(c.TxFrames), count(c.Drops.Total())})
		}
		columns(w, []int{3, 4, 5}, rows)
	}
}

func portCount(ports []control.PortStats) string {
	running := 0
	for _, p := range ports {
		if p.State == control.StateRunning {
			running++
		}
	}
	return fmt.Sprintf("%d, %d running", len(ports), running)
}

func printPorts(w io.Writer, ports []control.PortInfo) {
	rows := [][]string{{"NAME", "KIND", "STATE", "VLAN", "QUEUES", "RX FRAMES", "TX FRAMES", "DROPPED", "WHERE"}}
	for _, p := range ports {
		c := p.Counters
		rows = append(rows, []string{
			p.Name, string(p.Kind), string(p.State), vlanText(p.VLAN), strconv.Itoa(p.Queues),
			count(c.RxFrames), count(c.TxFrames), count(c.Drops.Total()), place(&p),
		})
	}
	columns(w, []int{4, 5, 6, 7}, rows)
}

// place returns the other end of a port: an interface or a socket.
func place(p *control.PortInfo) string { return cmp.Or(p.Interface, p.Socket, "-") }

func vlanText(v control.VLAN) string {
	s := v.Mode
	if v.Tag != 0 {
		s += fmt.Sprintf(" %d", v.Tag)
	}
	if len(v.Trunks) > 0 {
		s += " [" + ranges.Text(v.Trunks) + "]"
	}
	if len(v.CVLANs) > 0 {
		s += " [" + ranges.Text(v.CVLANs) + "]"
	}
	return s
}

// flagText returns the names of the flags that are on, and the limits with their values, as in the
// configuration.
func flagText(flags control.Settings) string {
	var on []string
	for _, f := range flags {
		switch v := f.Value.(type) {
		case bool:
			if v {
				on = append(on, f.Key)
			}
		case string:
			if v != "" && v != "auto" && v != "any" && v != "0" {
				on = append(on, f.Key+"="+v)
			}
		case []any:
			if len(v) > 0 {
				on = append(on, f.Key+"="+strings.Trim(strings.Join(strings.Fields(fmt.Sprint(v)), ","), "[]"))
			}
		case json.Number:
			n, err := v.Int64()
			switch {
			case err == nil && n == 0:
			case err == nil && strings.HasSuffix(f.Key, "_mask"):
				on = append(on, fmt.Sprintf("%s=%#x", f.Key, n))
			default:
				on = append(on, f.Key+"="+v.String())
			}
		}
	}
	return strings.Join(on, " ")
}

func printCounters(w io.Writer, kind control.Kind, c control.Counters) {
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
		pairs = append(pairs, "kicks", count(c.Kicks), "calls", count(c.Calls), "reconnects", count(c.Reconnects))
		for _, reason := range slices.Sorted(maps.Keys(c.Resets)) {
			pairs = append(pairs, "resets, "+reason, count(c.Resets[reason]))
		}
	}
	fields(w, pairs...)
}

func printFDB(w io.Writer, entries []control.FDBEntry) {
	rows := [][]string{{"MAC", "VLAN", "PORT", "TYPE", "AGE"}}
	for _, e := range entries {
		age := "-"
		if e.Type == "dynamic" || e.Type == "sticky" {
			age = fmt.Sprintf("%d s", e.AgeS)
		}
		vlan := strconv.Itoa(int(e.VLAN))
		if e.All {
			vlan = "all"
		}
		rows = append(rows, []string{e.MAC, vlan, cmp.Or(e.Port, "-"), e.Type, age})
	}
	columns(w, []int{1, 4}, rows)
}

func printMirrors(w io.Writer, mirrors []control.Mirror) {
	rows := [][]string{{"NAME", "FROM", "TO", "VLANS", "FILTER", "OUTPUT", "SNAPLEN", "FRAMES", "BYTES", "DROPPED"}}
	for _, m := range mirrors {
		from, to := strings.Join(m.SelectSrc, ","), strings.Join(m.SelectDst, ",")
		if m.SelectAll {
			from, to = "all", "all"
		}
		snaplen := "-"
		if m.Snaplen != 0 {
			snaplen = strconv.Itoa(m.Snaplen)
		}
		rows = append(rows, []string{
			m.Name, cmp.Or(from, "-"), cmp.Or(to, "-"), cmp.Or(ranges.Text(m.SelectVLAN), "all"), cmp.Or(m.Filter, "-"),
			cmp.Or(m.Output, fmt.Sprintf("VLAN %d", m.OutputVLAN)), snaplen, count(m.Frames), count(m.Bytes), count(m.Drops),
		})
	}
	columns(w, []int{6, 7, 8, 9}, rows)
}

// printFDBEvents prints the line below the table of entries.
func printFDBEvents(w io.Writer, s control.SwitchInfo) {
	fmt.Fprintf(w, "\n%d of %d entries", s.FDBEntries, s.FDBSize)
	if text := eventText(s.FDBEvents); text != "" {
		fmt.Fprintf(w, "; since start: %s", text)
	}
	fmt.Fprintln(w)
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

// sourcesText lists the sources that a membership is about: those that are included or excluded.
func sourcesText(e *control.MDBEntry) string {
	var list []string
	for _, s := range e.Sources {
		if s.Blocked == (e.Mode == "exclude") {
			list = append(list, s.Address)
		}
	}
	return cmp.Or(strings.Join(list, " "), "-")
}

func printMDB(w io.Writer, m control.MDB) {
	if !m.Snooping {
		fmt.Fprintln(w, "multicast snooping is off (switch.mcast_snooping): multicast goes to all ports")
		return
	}
	rows := [][]string{{"GROUP", "VLAN", "PORT", "TYPE", "MODE", "SOURCES", "EXPIRES"}}
	for _, e := range m.Entries {
		expires := fmt.Sprintf("%d s", e.ExpiresS)
		if e.Type == "static" {
			expires = "-"
		}
		rows = append(rows, []string{e.Group, strconv.Itoa(int(e.VLAN)), e.Port, e.Type, e.Mode, sourcesText(&e), expires})
	}
	columns(w, []int{1, 6}, rows)
	fmt.Fprintln(w)
	rows = [][]string{{"VLAN", "IP", "QUERIER", "EXPIRES", "MULTICAST", "ROUTER PORTS"}}
	for _, n := range m.Networks {
		querier, expires, multicast := "-", "-", "snooped"
		if n.Querier != "" {
			querier, expires = n.Querier, fmt.Sprintf("%d s", n.ExpiresS)
			if n.Own {
				querier += " (own)"
			}
		}
		if n.Flooding {
			multicast = "flooded"
		}
		rows = append(rows, []string{
			strconv.Itoa(int(n.VLAN)), strconv.Itoa(n.IPVersion), querier, expires, multicast, strings.Join(n.Routers, " "),
		})
	}
	columns(w, []int{0, 1, 3}, rows)
	if len(m.Networks) == 0 {
		fmt.Fprintln(w, "no querier has been heard: multicast goes to all ports")
	}
}

func printStats(w io.Writer, stats []control.PortStats) {
	for i, s := range stats {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s (%s, %s)\n", s.Name, s.Kind, s.State)
		printCounters(w, s.Kind, s.Counters)
	}
}
