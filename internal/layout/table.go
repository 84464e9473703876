package layout

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A Column says how the cells of a column are laid out, and how the column gives way in a table
// that is too wide. A table is made narrower by each of these until the table fits: titles are
// folded, cells are folded, all columns that have a shorter form take that form, columns are left
// out, and cells are cut off.
type Column struct {
	Title string
	Right bool // whether cells are aligned to the right, as numbers are

	Tone  func(cell string) Tone   // of a cell, in its long or short form; nil: Plain
	Short func(cell string) string // the shorter form of a cell; nil: none
	Omit  int                      // the place in the order in which columns are left out, from 1; 0: never
	Fold  int                      // the least width in columns that cells are folded to; 0: not folded
	Lines int                      // the most lines of a folded cell; 0: no limit
}

// gap separates two columns.
const gap = "  "

// Table writes a table. Each row has a cell for each column.
func (p *Page) Table(columns []Column, rows [][]string) {
	t := newGrid(columns, rows)
	t.fit(p.Width)
	titles := make([]lines, len(t.columns))
	for i, text := range t.titles {
		titles[i] = lines{text, Title}
		for y, line := range text {
			text[y] = ansi.Truncate(line, t.widths[i], "…")
		}
	}
	t.writeRow(p, titles, true)
	for y := range t.rows {
		t.writeRow(p, t.cells(y), false)
	}
}

// lines is the text of a cell, or of a title.
type lines struct {
	text []string
	tone Tone
}

// writeRow writes a row. Titles stand at the bottom of their row.
func (t *grid) writeRow(p *Page, cells []lines, bottom bool) {
	height := 0
	for _, c := range cells {
		height = max(height, len(c.text))
	}
	for y := range height {
		line, blanks := "", ""
		for i, c := range cells {
			at, text := y, ""
			if bottom {
				at -= height - len(c.text)
			}
			if at >= 0 && at < len(c.text) {
				text = c.text[at]
			}
			pad := strings.Repeat(" ", max(0, t.widths[i]-ansi.StringWidth(text)))
			if t.columns[i].Right {
				blanks, pad = blanks+pad, ""
			}
			if text != "" {
				line += blanks + p.Styled(c.tone, text)
				blanks = ""
			}
			blanks += pad + gap
		}
		fmt.Fprintln(p, line)
	}
}

// Fields writes names and values, a pair per line, without the pairs whose value is empty, and with
// the values below each other. Values that are too long go on below themselves. The function tone,
// which may be nil, returns the tone of a value.
func (p *Page) Fields(tone func(name, value string) Tone, pairs ...string) {
	names := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			names = max(names, ansi.StringWidth(pairs[i]))
		}
	}
	indent := names + len(gap)
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		if value == "" {
			continue
		}
		t := Plain
		if tone != nil {
			t = tone(name, value)
		}
		lead := name + strings.Repeat(" ", indent-ansi.StringWidth(name))
		for _, line := range Fold(value, p.Width-indent) {
			fmt.Fprintln(p, lead+p.Styled(t, line))
			lead = strings.Repeat(" ", indent)
		}
	}
}

// Fold returns a text in lines of at most width columns. Lines end between words, or else behind
// commas, or else where the width is reached.
func Fold(text string, width int) (lines []string) {
	for ansi.StringWidth(text) > width {
		head := ansi.Truncate(text, max(width, 1), "")
		rest := text[len(head):]
		if head == "" { // the first character is wider
			break
		}
		if at := strings.LastIndexByte(text[:len(head)+1], ' '); at > 0 {
			head, rest = text[:at], text[at:]
		} else if at := strings.LastIndexByte(head, ','); at >= 0 {
			head, rest = text[:at+1], text[at+1:]
		}
		lines = append(lines, strings.TrimRight(head, " "))
		text = strings.TrimLeft(rest, " ")
	}
	if text != "" || len(lines) == 0 {
		lines = append(lines, text)
	}
	return lines
}
