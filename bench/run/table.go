package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
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
		r.table(&b, k)
	}
	return b.String()
}

// table appends the table of one kind of scenarios.
func (r *results) table(b *strings.Builder, k kind) {
	var rows []scenario
	for _, s := range r.scenarios {
		if s.kind == k || k == hot && s.kind == asleep {
			rows = append(rows, s)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n\n|", heads[k])
	rule := "\n|---|"
	for i, s := range r.backEnds {
		fmt.Fprintf(b, " | %s", s.name)
		rule += "---|"
		if i > 0 {
			rule += "---|"
			if k <= foreign {
				fmt.Fprintf(b, " | %s / %s", r.backEnds[0].name, s.name)
			} else {
				fmt.Fprintf(b, " | %s / %s", s.name, r.backEnds[0].name)
			}
		}
	}
	fmt.Fprintf(b, " |%s\n", rule)
	for _, s := range rows {
		fmt.Fprintf(b, "| %s", s.name)
		for i, be := range r.backEnds {
			fmt.Fprintf(b, " | %s", r.cell(key{be.name, s.name}))
			if i > 0 {
				fmt.Fprintf(b, " | %s", r.ratio(s, be.name))
			}
		}
		fmt.Fprintln(b, " |")
	}
	fmt.Fprintln(b)
}

func (r *results) cell(k key) string {
	v := r.values[k]
	if len(v) == 0 {
		return "-"
	}
	return spread(v, func(v value) float64 { return v.x })
}

// ratio returns by how much the first back-end is better than another, round by round.
func (r *results) ratio(s scenario, other string) string {
	ours, theirs := r.values[key{r.backEnds[0].name, s.name}], r.values[key{other, s.name}]
	n := min(len(ours), len(theirs))
	if n == 0 {
		return "-"
	}
	var q []float64
	for i := range n {
		x := ours[i].x / theirs[i].x
		if s.kind > foreign {
			x = 1 / x
		}
		q = append(q, x)
	}
	return "**" + spread(q, func(x float64) float64 { return x }) + "**"
}

// spread returns the median, the least and the greatest.
func spread[T any](all []T, of func(T) float64) string {
	var x []float64
	for _, v := range all {
		x = append(x, of(v))
	}
	slices.Sort(x)
	return fmt.Sprintf("%s (%s–%s)", number(median(x)), number(x[0]), number(x[len(x)-1]))
}

// median of sorted numbers.
func median(x []float64) float64 {
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}

// number has three digits that mean something.
func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// Between these lines of a document are results.
const (
	sectionBegin = "<!-- results of bench/run: begin -->\n"
	sectionEnd   = "<!-- results of bench/run: end -->\n"
)

// replaceSection writes text into a document in the place of earlier results.
func replaceSection(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), sectionBegin)
	_, after, ok2 := strings.Cut(rest, sectionEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for results: the lines %q and %q", file, sectionBegin, sectionEnd)
	}
	return os.WriteFile(file, []byte(before+sectionBegin+"\n"+text+sectionEnd+after), 0o644)
}
