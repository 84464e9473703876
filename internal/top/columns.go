package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
	"vswitchd/internal/rates"
)

// A column of the table of ports.
type column struct {
	name    string // in the flag that says what the order is by
	help    string
	layout  layout.Column
	least   int // the width of the page from which on there is the column
	text    func(*rates.Port) string
	compare func(a, b *rates.Port) int // ascending; nil: the ports are not sorted by the column
	rate    func(*rates.Rates) float64 // instead of text and compare: greater rates come first
}

// columns are the columns of the table, from left to right. Those with the lowest place in Omit
// give way first on a narrow page.
var columns = []column{
	{name: "name", layout: layout.Column{Title: "PORT"}, help: "the port's name",
		text: func(p *rates.Port) string { return p.Name }, compare: func(a, b *rates.Port) int { return strings.Compare(a.Name, b.Name) }},
	{name: "kind", layout: layout.Column{Title: "KIND"}, least: 90, help: "guest, uplink or host",
		text: func(p *rates.Port) string { return string(p.Kind) }, compare: func(a, b *rates.Port) int { return cmp.Compare(a.Kind, b.Kind) }},
	{name: "state", layout: layout.Column{Title: "STATE", Omit: 3, Tone: StateTone}, help: "as in port show",
		text: func(p *rates.Port) string { return string(p.State) }, compare: func(a, b *rates.Port) int { return cmp.Compare(a.State, b.State) }},
	{name: "rx-frames", layout: layout.Column{Title: "RX FR/S", Right: true, Omit: 1}, help: "frames per second from the port",
		rate: func(r *rates.Rates) float64 { return r.RxFrames }},
	{name: "rx-bits", layout: layout.Column{Title: "RX BIT/S", Right: true}, help: "bits per second from the port",
		rate: func(r *rates.Rates) float64 { return r.RxBits }},
	{name: "tx-frames", layout: layout.Column{Title: "TX FR/S", Right: true, Omit: 2}, help: "frames per second to the port",
		rate: func(r *rates.Rates) float64 { return r.TxFrames }},
	{name: "tx-bits", layout: layout.Column{Title: "TX BIT/S", Right: true}, help: "bits per second to the port",
		rate: func(r *rates.Rates) float64 { return r.TxBits }},
	{name: "drops", layout: layout.Column{Title: "DROP/S", Right: true, Tone: dropTone}, help: "dropped frames per second",
		rate: func(r *rates.Rates) float64 { return r.Drops }},
	{name: "reasons", layout: layout.Column{Title: "DROPS BY REASON"}, least: 110, help: "drops by reason",
		text: func(p *rates.Port) string { return strings.Join(reasonTexts(p.Rates), ", ") }},
}

// StateTone returns the tone of the state of a port.
func StateTone(state string) layout.Tone {
	switch control.State(state) {
	case control.StateRunning:
		return layout.Good
	case control.StateError, control.StateBlocked:
		return layout.Bad
	}
	return layout.Doubt
}

func dropTone(cell string) layout.Tone {
	switch strings.TrimSpace(cell) {
	case "0", "-":
		return layout.Plain
	}
	return layout.Doubt
}

// reasonTexts returns the reasons for drops with their rates, the most frequent first.
func reasonTexts(r *rates.Rates) (list []string) {
	if r == nil {
		return nil
	}
	for _, reason := range r.Top() {
		list = append(list, reason.Name+" "+layout.Rounded(reason.Rate))
	}
	return list
}

// cell returns the text of a column for a port. Rates have one width, so that columns do not move.
func (c *column) cell(p *rates.Port) string {
	switch {
	case c.rate == nil:
		return c.text(p)
	case p.Rates == nil:
		return "    -"
	}
	return fmt.Sprintf("%5s", layout.Rounded(c.rate(p.Rates)))
}

// An Order is the order in which ports are shown.
type Order struct {
	by      int // index in columns
	reverse bool
}

// SortNames returns the names of what ports can be sorted by.
func SortNames() (names []string) {
	for _, c := range columns {
		if c.sorts() {
			names = append(names, c.name)
		}
	}
	return names
}

// ParseOrder returns the order by the column of a name, reversed if that is asked for. Names and
// states ascend, rates descend.
func ParseOrder(name string, reverse bool) (Order, error) {
	i := slices.IndexFunc(columns, func(c column) bool { return c.name == name && c.sorts() })
	if i < 0 {
		known := SortNames()
		return Order{}, fmt.Errorf("is %q, must be one of %s%s", name, strings.Join(known, ", "), nearest.Hint(name, known))
	}
	return Order{i, reverse}, nil
}

func (c *column) sorts() bool { return c.compare != nil || c.rate != nil }

// next returns the order by the next column to the right (step 1) or left (-1).
func (o Order) next(step int) Order {
	n := len(columns)
	for o.by = (o.by + step + n) % n; !columns[o.by].sorts(); o.by = (o.by + step + n) % n {
	}
	return o
}

// compare compares two ports. Those without rates come last, and names decide between equals.
func (o Order) compare(a, b *rates.Port) int {
	c, order := &columns[o.by], 0
	switch {
	case c.rate == nil:
		order = c.compare(a, b)
	case a.Rates != nil && b.Rates != nil:
		order = cmp.Compare(c.rate(b.Rates), c.rate(a.Rates))
	case a.Rates != nil:
		return -1
	case b.Rates != nil:
		return 1
	}
	if o.reverse {
		order = -order
	}
	return cmp.Or(order, strings.Compare(a.Name, b.Name))
}

// mark returns what marks the column in the table's titles.
func (o Order) mark() string {
	if descending := columns[o.by].rate != nil; descending != o.reverse {
		return "▼"
	}
	return "▲"
}
