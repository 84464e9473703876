package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/ranges"
)

func printSwitch(w *layout.Page, s control.SwitchInfo) {
	fields(w,
		"version", s.Version,
		"uptime", (time.Duration(s.UptimeS) * time.Second).String(),
		"ports", portCount(s.Ports),
		"fdb", fmt.Sprintf("%d of %d entries, aging %v", s.FDBEntries, s.FDBSize, time.Duration(s.MACAgingS)*time.Second),
		"fdb events", eventText(s.FDBEvents),
		"received", traffic(s.Totals.RxFrames, s.Totals.RxBytes),
		"sent", traffic(s.Totals.TxFrames, s.Totals.TxBytes),
		"dropped", frames(s.Totals.Drops.Total()),
		"sandbox", sandboxText(&s.Sandbox),
	)
	if len(s.Workers) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for i, k := range s.Workers {
			cpu := "any"
			if k.CPU >= 0 {
				cpu = strconv.Itoa(k.CPU)
			}
			rows = append(rows, []string{strconv.Itoa(i), cpu, fmt.Sprintf("%.1f %%", 100*k.BusyRatio), count(k.Frames), count(k.Wakeups)})
		}
		w.Table([]layout.Column{{Title: "WORKER"}, number("CPU"), number("BUSY"), counted("FRAMES"), counted("WAKEUPS")}, rows)
	}
	if len(s.Ports) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, p := range s.Ports {
			c := p.Counters
			rows = append(rows, []string{p.Name, string(p.Kind), string(p.State), count(c.RxFrames), count(c.TxFrames), count(c.Drops.Total())})
		}
		w.Table([]layout.Column{{Title: "PORT"}, {Title: "KIND"}, stateColumn, counted("RX FRAMES"), counted("TX FRAMES"), droppedColumn}, rows)
	}
}

// sandboxText says which parts of the sandbox hold, and which do not.
func sandboxText(s *control.Sandbox) string {
	if len(s.Parts) == 0 {
		return "-"
	}
	var texts []string
	for _, state := range control.SandboxStates {
		var names []string
		for _, p := range s.Parts {
			if p.State == state {
				names = append(names, p.Name)
			}
		}
		if len(names) > 0 {
			texts = append(texts, state+": "+strings.Join(names, ", "))
		}
	}
	return strings.Join(texts, "; ")
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

func printPorts(w *layout.Page, ports []control.PortInfo) {
	var rows [][]string
	for _, p := range ports {
		c := p.Counters
		rows = append(rows, []string{
			p.Name, string(p.Kind), string(p.State), vlanText(p.VLAN), strconv.Itoa(p.Queues),
			count(c.RxFrames), count(c.TxFrames), count(c.Drops.Total()), place(&p),
		})
	}
	w.Table([]layout.Column{
		{Title: "NAME"}, {Title: "KIND", Omit: 3}, stateColumn, {Title: "VLAN", Fold: 17, Lines: 3}, {Title: "QUEUES", Right: true, Omit: 1},
		counted("RX FRAMES"), counted("TX FRAMES"), droppedColumn, {Title: "WHERE", Short: fileOf, Omit: 2},
	}, rows)
}

// fileOf returns the name of a file, marked as such, instead of its path.
func fileOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return "…" + path[i:]
	}
	return path
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
