package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/rates"
)

// selected returns the ports whose names contain the filter, in order.
func selected(ports []rates.Port, filter string, o Order) (list []rates.Port) {
	for _, p := range ports {
		if strings.Contains(strings.ToLower(p.Name), strings.ToLower(filter)) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b rates.Port) int { return o.compare(&a, &b) })
	return list
}

// writeTable writes the table of ports, with a row for all ports of the switch first, whose rates
// are nil if they are not known.
func writeTable(w *layout.Page, totals *rates.Rates, ports []rates.Port, o Order) {
	all := rates.Port{Name: "(all)", Rates: totals}
	rows := make([][]string, 1+len(ports))
	var shown []layout.Column
	for i, c := range columns {
		if w.Width < c.least && i != o.by {
			continue
		}
		column := c.layout
		if i == o.by {
			column.Omit = 0
			column.Title += o.mark()
		}
		shown = append(shown, column)
		rows[0] = append(rows[0], c.cell(&all))
		for k := range ports {
			rows[k+1] = append(rows[k+1], c.cell(&ports[k]))
		}
	}
	w.Table(shown, rows)
}

// summary returns a line about the switch.
func summary(i *rates.Interval) string {
	running := 0
	for _, p := range i.Ports {
		if p.State == control.StateRunning {
			running++
		}
	}
	up, ports := time.Duration(i.UptimeS)*time.Second, "ports"
	if len(i.Ports) == 1 {
		ports = "port"
	}
	return fmt.Sprintf("vswitchd %s, up %v, %d %s, %d running", i.Version, up, len(i.Ports), ports, running)
}

// workerTexts returns how busy each worker is.
func workerTexts(i *rates.Interval) (list []string) {
	for n, busy := range i.Workers {
		text := fmt.Sprintf("%d: -", n)
		if busy != nil {
			text = fmt.Sprintf("%d: %.0f %%", n, 100**busy)
		}
		list = append(list, text)
	}
	return list
}

// listLines returns lines of a list behind a name. What does not fit into most lines is left out,
// and "…" says so.
func listLines(name string, list []string, width, most int) []string {
	if len(list) == 0 {
		list = []string{"none"}
	}
	indent := strings.Repeat(" ", ansi.StringWidth(name)+2)
	lines := []string{name + "  " + list[0]}
	for _, text := range list[1:] {
		last := &lines[len(lines)-1]
		switch {
		case ansi.StringWidth(*last+", "+text) <= width:
			*last += ", " + text
		case len(lines) == most:
			*last = ansi.Truncate(*last, width-3, "") + ", …"
			return lines
		default:
			*last += ","
			lines = append(lines, indent+text)
		}
	}
	return lines
}
