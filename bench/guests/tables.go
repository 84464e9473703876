package guests

import (
	"strings"

	"vswitchd/bench/report"
)

// A table is one of the results'.
type table struct {
	report.Table
	has func(scenario) bool
	of  func(value) float64
}

func unpaced(s scenario) bool { return !s.traffic.paced }
func paced(s scenario) bool   { return s.traffic.paced }

// tables returns the tables, without rows.
func tables() []table {
	return []table{
		{report.Table{Title: "What arrives, in Mbit/s"}, unpaced, func(v value) float64 { return v.mbits }},
		{report.Table{Title: "Processor time of both guests, in seconds for 10⁹ bytes that arrive", Less: true}, unpaced,
			func(v value) float64 { return v.guests }},
		{report.Table{Title: "The same of all else: QEMU, vswitchd, and the kernel on their behalf", Less: true}, unpaced,
			func(v value) float64 { return v.outside }},
		{report.Table{Title: "TCP segments that were sent again, for 10⁹ bytes that arrive", Plain: true},
			func(s scenario) bool { return s.traffic.name == tcp.name }, func(v value) float64 { return v.again }},
		{report.Table{Title: "UDP datagrams that did not arrive, in percent of those sent", Plain: true},
			func(s scenario) bool { return s.traffic.name != tcp.name }, func(v value) float64 { return 100 * v.lost }},
		{report.Table{Title: "Of these, datagrams for which the receiving guest had no room in its socket", Plain: true},
			func(s scenario) bool { return s.traffic.name == udp.name && s.route != guestToUplink },
			func(v value) float64 { return 100 * v.dropped }},
		{report.Table{Title: "Interrupts of the receiving guest, for 1000 frames", Less: true},
			func(s scenario) bool { return s.route != guestToUplink }, func(v value) float64 { return v.interrupts }},
		{report.Table{Title: "Moderate loads: processor time of both guests, in percent of one processor", Less: true}, paced,
			func(v value) float64 { return 100 * v.guestsLoad }},
		{report.Table{Title: "Moderate loads: the same of all else", Less: true}, paced,
			func(v value) float64 { return 100 * v.outsideLoad }},
		{report.Table{Title: "Moderate loads: of that, the network's own process (a bridge has none)", Plain: true}, paced,
			func(v value) float64 { return 100 * v.networkLoad }},
	}
}

// markdown returns the tables.
func (r *results) markdown() string {
	var b strings.Builder
	for _, t := range tables() {
		for _, n := range r.networks {
			t.Subjects = append(t.Subjects, n.name)
		}
		for _, s := range r.scenarios {
			if !t.has(s) {
				continue
			}
			var values [][]float64
			for _, n := range r.networks {
				var x []float64
				for _, v := range r.values[key{n, s.name()}] {
					x = append(x, t.of(v))
				}
				values = append(values, x)
			}
			t.Add(s.name(), values...)
		}
		b.WriteString(t.String())
	}
	return b.String()
}
