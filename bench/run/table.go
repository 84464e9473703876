package main

import (
	"strings"

	"vswitchd/bench/report"
)

// heads are what the tables of each kind are about.
var heads = map[kind]string{
	saturated: "Frames delivered, in millions per second",
	foreign:   "The same with DPDK's virtio driver (testpmd) as the generator, both ways, rings of 1024",
	offered:   "Share of a processor for a fixed load, in percent",
	hot:       "Time from one guest's ring to the other's, in microseconds",
}

// markdown returns the tables.
func (r *results) markdown() string {
	var b strings.Builder
	for k := saturated; k <= hot; k++ {
		b.WriteString(r.table(k))
	}
	return b.String()
}

// table returns the table of one kind of scenarios.
func (r *results) table(k kind) string {
	t := report.Table{Title: heads[k], Less: k > foreign}
	for _, be := range r.backEnds {
		t.Subjects = append(t.Subjects, be.name)
	}
	for _, s := range r.scenarios {
		if s.kind != k && (k != hot || s.kind != asleep) {
			continue
		}
		var row [][]float64
		for _, be := range r.backEnds {
			var x []float64
			for _, v := range r.values[key{be.name, s.name}] {
				x = append(x, v.x)
			}
			row = append(row, x)
		}
		t.Add(s.name, row...)
	}
	return t.String()
}
