package layout

import (
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A grid is a table that is being fitted to a width.
type grid struct {
	columns []Column
	rows    [][]string
	titles  [][]string // lines, by column
	natural []int      // widths of the widest cells or titles, by column
	widths  []int      // of the columns
}

func newGrid(columns []Column, rows [][]string) *grid {
	t := &grid{columns: columns, rows: slices.Clone(rows), titles: make([][]string, len(columns))}
	for i, c := range columns {
		t.titles[i] = []string{c.Title}
	}
	t.measure()
	return t
}

// measure sets the widths to what cells and titles need.
func (t *grid) measure() {
	t.natural = make([]int, len(t.columns))
	for i := range t.columns {
		t.natural[i] = t.titleWidth(i)
		for _, row := range t.rows {
			t.natural[i] = max(t.natural[i], ansi.StringWidth(row[i]))
		}
	}
	t.widths = slices.Clone(t.natural)
}

func (t *grid) titleWidth(i int) (width int) {
	for _, line := range t.titles[i] {
		width = max(width, ansi.StringWidth(line))
	}
	return width
}

// excess is the number of columns by which the table is wider than it may be.
func (t *grid) excess(width int, widths []int) int {
	total := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	return max(0, total-width)
}

// fit makes the table fit a width.
func (t *grid) fit(width int) {
	if t.excess(width, t.natural) == 0 {
		return
	}
	t.foldTitles()
	if t.excess(width, t.least()) > 0 {
		t.shorten()
	}
	for t.excess(width, t.least()) > 0 && t.omit() {
	}
	t.reduce(width, t.least())
	t.reduce(width, make([]int, len(t.widths)))
}

// foldTitles lets each word of a title have a line.
func (t *grid) foldTitles() {
	defer t.measure()
	for i, c := range t.columns {
		t.titles[i] = strings.Fields(c.Title)
	}
}

// shorten takes the short forms of cells.
func (t *grid) shorten() {
	defer t.measure()
	for y, row := range t.rows {
		t.rows[y] = slices.Clone(row)
		for i, c := range t.columns {
			if c.Short != nil {
				t.rows[y][i] = c.Short(row[i])
			}
		}
	}
}

// least returns the widths to which the columns can be folded.
func (t *grid) least() []int {
	widths := slices.Clone(t.natural)
	for i, c := range t.columns {
		if c.Fold > 0 {
			widths[i] = min(widths[i], max(c.Fold, t.titleWidth(i)))
		}
	}
	return widths
}

// omit leaves out the column whose turn it is, if there is one.
func (t *grid) omit() bool {
	turn := -1
	for i, c := range t.columns {
		if c.Omit > 0 && (turn < 0 || c.Omit < t.columns[turn].Omit) {
			turn = i
		}
	}
	if turn < 0 {
		return false
	}
	defer t.measure()
	t.columns = without(t.columns, turn)
	t.titles = without(t.titles, turn)
	for y, row := range t.rows {
		t.rows[y] = without(row, turn)
	}
	return true
}

// without returns a copy of a list without one element.
func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

// reduce takes the excess away from the widest columns, which keep their least widths.
func (t *grid) reduce(width int, least []int) {
	for n := t.excess(width, t.widths); n > 0; n-- {
		widest := -1
		for i, w := range t.widths {
			if w > max(least[i], 1) && (widest < 0 || w > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		t.widths[widest]--
	}
}

// cells returns the cells of a row.
func (t *grid) cells(y int) []lines {
	row := make([]lines, len(t.columns))
	for i, c := range t.columns {
		row[i].text = t.fold(i, t.rows[y][i])
		if c.Tone != nil {
			row[i].tone = c.Tone(t.rows[y][i])
		}
	}
	return row
}

// fold returns the lines of a cell of a column.
func (t *grid) fold(i int, cell string) []string {
	c, width := t.columns[i], t.widths[i]
	if c.Fold == 0 {
		return []string{ansi.Truncate(cell, width, "…")}
	}
	lines := Fold(cell, width)
	if c.Lines > 0 && len(lines) > c.Lines {
		lines = lines[:c.Lines]
		lines[c.Lines-1] = ansi.Truncate(lines[c.Lines-1], width-1, "") + "…"
	}
	return lines
}
