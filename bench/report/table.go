// Package report makes tables of what was measured in several rounds, and puts them into documents.
package report

import (
	"fmt"
	"slices"
	"strings"
)

// A Table compares subjects, the first of which is vswitchd.
type Table struct {
	Title    string
	Subjects []string
	Less     bool // less is better
	Plain    bool // there are no ratios: values may be 0
	rows     []row
}

type row struct {
	name   string
	values [][]float64
}

// Add adds a row: what was measured of each subject, in the order of rounds. Where there is
// nothing, a subject has not taken part.
func (t *Table) Add(name string, values ...[]float64) { t.rows = append(t.rows, row{name, values}) }

// String returns the table for a document: medians, and by how much the first subject is better
// than each of the others, round by round. It is empty without rows.
func (t *Table) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n\n|", t.Title)
	rule := "\n|---|"
	for i, s := range t.Subjects {
		fmt.Fprintf(&b, " | %s", s)
		rule += "---|"
		if i == 0 || t.Plain {
			continue
		}
		rule += "---|"
		if t.Less {
			fmt.Fprintf(&b, " | %s / %s", s, t.Subjects[0])
		} else {
			fmt.Fprintf(&b, " | %s / %s", t.Subjects[0], s)
		}
	}
	fmt.Fprintf(&b, " |%s\n", rule)
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s", r.name)
		for i, v := range r.values {
			fmt.Fprintf(&b, " | %s", Spread(v))
			if i > 0 && !t.Plain {
				fmt.Fprintf(&b, " | %s", t.ratio(r.values[0], v))
			}
		}
		fmt.Fprintln(&b, " |")
	}
	fmt.Fprintln(&b)
	return b.String()
}

// ratio returns by how much vswitchd is better than another subject.
func (t *Table) ratio(ours, theirs []float64) string {
	if t.Less {
		ours, theirs = theirs, ours
	}
	q := make([]float64, min(len(ours), len(theirs)))
	if len(q) == 0 {
		return Spread(nil)
	}
	for i := range q {
		q[i] = ours[i] / theirs[i]
	}
	return "**" + Spread(q) + "**"
}

// Spread returns the median, the least and the greatest.
func Spread(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	x := slices.Sorted(slices.Values(values))
	n := len(x)
	return fmt.Sprintf("%s (%s–%s)", number((x[(n-1)/2]+x[n/2])/2), number(x[0]), number(x[n-1]))
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
