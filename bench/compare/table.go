package compare

import (
	"slices"
	"strings"

	"vswitchd/bench/report"
)

// tables are all there are, in order: of which kinds of scenarios, and what of their values.
var tables = []struct {
	title string
	of    func(value) float64
	kinds []kind
}{
	{"Frames delivered, in millions per second", measured, []kind{saturated}},
	{"The same with DPDK's virtio driver (testpmd) as the generator, both ways, rings of 1024", measured, []kind{foreign}},
	{"Frames delivered between a guest and a network namespace behind the uplink, in millions per second", measured, []kind{wired}},
	{"Share of a processor for a fixed load, in percent", measured, []kind{offered}},
	{"Of that, what went into frames", func(v value) float64 { return v.busy }, []kind{offered}},
	{"Time from one guest's ring to the other's, in microseconds", measured, []kind{hot, asleep}},
}

func measured(v value) float64 { return v.x }

// markdown returns the tables.
func (r *results) markdown() string {
	var b strings.Builder
	for _, t := range tables {
		b.WriteString(r.table(t.title, t.of, t.kinds))
	}
	return b.String()
}

// table returns the table of some kinds of scenarios.
func (r *results) table(title string, of func(value) float64, kinds []kind) string {
	t := report.Table{Title: title, Less: kinds[0] > wired}
	var backEnds []starter
	for _, be := range r.backEnds {
		if be.takesPart(kinds[0]) {
			backEnds = append(backEnds, be)
			t.Subjects = append(t.Subjects, be.name)
		}
	}
	for _, s := range r.scenarios {
		if !slices.Contains(kinds, s.kind) {
			continue
		}
		var row [][]float64
		for _, be := range backEnds {
			var x []float64
			for _, v := range r.values[key{be.name, s.name}] {
				x = append(x, of(v))
			}
			row = append(row, x)
		}
		t.Add(s.name, row...)
	}
	return t.String()
}
