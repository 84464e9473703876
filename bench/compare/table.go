package compare

import (
	"math"
	"slices"
	"strings"

	"vswitchd/bench/report"
)

// tables are all there are, in order: of which kinds of scenarios, and what of their values.
var tables = []struct {
	title string
	of    func(value) float64
	kinds []kind
	plain bool // without ratios
}{
	{title: "Frames delivered, in millions per second", kinds: []kind{saturated}},
	{title: "The same with DPDK's virtio driver (testpmd) as the generator, both ways, rings of 1024", kinds: []kind{foreign}},
	{title: "Frames delivered between a guest and a network namespace behind the uplink, in millions per second", kinds: []kind{wired}},
	{title: "Share of a processor for a fixed load, in percent", kinds: []kind{offered}},
	{title: "Of that, what went into frames", kinds: []kind{offered}, of: func(v value) float64 { return v.busy }},
	{title: "Time from one guest's ring to the other's at these loads, half of all frames, in microseconds", kinds: []kind{offered},
		of: func(v value) float64 { return v.half }},
	{title: "The same, 99 % of all frames", kinds: []kind{offered}, of: func(v value) float64 { return v.most }},
	{title: "How often the senders wake the back-end, for 1,000 frames", kinds: []kind{offered}, plain: true,
		of: func(v value) float64 { return v.wakes }},
	{title: "Time from one guest's ring to the other's, in microseconds", kinds: []kind{hot}},
	{title: "The same after silence, next to the time in which one thread wakes another", kinds: []kind{asleep}},
}

// markdown returns the tables.
func (r *results) markdown() string {
	var b strings.Builder
	for _, t := range tables {
		of := t.of
		if of == nil {
			of = func(v value) float64 { return v.x }
		}
		b.WriteString(r.table(report.Table{Title: t.title, Plain: t.plain}, of, t.kinds))
	}
	return b.String()
}

// table fills in a table of some kinds of scenarios.
func (r *results) table(t report.Table, of func(value) float64, kinds []kind) string {
	t.Less = kinds[0] > wired
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
				if y := of(v); !math.IsNaN(y) {
					x = append(x, y)
				}
			}
			row = append(row, x)
		}
		t.Add(s.name, row...)
	}
	return t.String()
}
