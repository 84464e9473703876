package top

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"vswitchd/internal/layout"
)

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "vswitchctl top"
	return v
}

// lines returns what is on the terminal: no more lines than it has, none wider than it is.
func (m *model) lines() []string {
	page, out := m.page()
	if m.help {
		fmt.Fprintln(page, page.Styled(layout.Title, "Keys"))
		page.Fields(nil, keys...)
		fmt.Fprintln(page)
		fmt.Fprintln(page, page.Styled(layout.Title, "Columns"))
		page.Fields(nil, columnHelp()...)
		return m.cut(split(out))
	}
	table := m.arrange()
	lines := slices.Concat(m.head(), []string{m.status(&table)}, table.shown())
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return m.cut(append(lines[:max(0, min(len(lines), m.height-1))], m.foot()))
}

func columnHelp() (pairs []string) {
	for _, c := range columns {
		pairs = append(pairs, c.layout.Title, c.help)
	}
	return pairs
}

// page returns a page as wide as the terminal, and what has been written to it.
func (m *model) page() (*layout.Page, *strings.Builder) {
	var out strings.Builder
	return &layout.Page{Writer: &out, Width: max(m.width, 1), Colors: m.colors}, &out
}

func split(out *strings.Builder) []string {
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// cut cuts off what the terminal has no room for.
func (m *model) cut(lines []string) []string {
	lines = lines[:min(len(lines), max(m.height, 1))]
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return lines
}

// headLines is the number of lines above the table.
func (m *model) headLines() int { return len(m.head()) + 1 }

// head returns the lines about the switch.
func (m *model) head() []string {
	most := 2
	if m.height < 20 {
		most = 1
	}
	workers, drops := workerTexts(&m.now), reasonTexts(m.totals())
	if !m.known {
		drops = []string{"-"}
	}
	lines := []string{summary(&m.now)}
	if m.err != nil {
		page, _ := m.page()
		lines[0], workers = page.Styled(layout.Bad, m.err.Error()+"; trying again"), []string{"-"}
	}
	return slices.Concat(lines, listLines("workers", workers, m.width, most), listLines("drops/s", drops, m.width, most))
}

// status returns the line about what is shown.
func (m *model) status(table *screenful) string {
	page, _ := m.page()
	var parts []string
	switch {
	case m.silent > patience:
		parts = append(parts, page.Styled(layout.Bad, fmt.Sprintf("vswitchd has not answered for %d s", int(m.silent.Seconds()))))
	case m.note != "":
		parts = append(parts, page.Styled(layout.Doubt, m.note))
	}
	if n := len(table.ports); n > table.room {
		parts = append(parts, fmt.Sprintf("ports %d-%d of %d", table.first+1, table.first+table.room, n))
	}
	if m.filter != "" && !m.editing {
		parts = append(parts, "filter "+m.filter)
	}
	if m.active {
		parts = append(parts, "idle ports hidden")
	}
	return strings.Join(parts, ", ")
}

// A screenful is the table of ports, of which the terminal shows rows of ports from first on.
type screenful struct {
	titles      []string // with the row for all ports
	ports       []string
	room, first int
}

// arrange returns the table of the ports that are shown.
func (m *model) arrange() screenful {
	page, out := m.page()
	ports := m.ports()
	writeTable(page, m.totals(), ports, m.order)
	lines := split(out)
	titles := len(lines) - len(ports)
	s := screenful{titles: lines[:titles], ports: lines[titles:]}
	s.room = max(1, m.height-m.headLines()-titles-1)
	s.first = max(0, min(m.first, len(ports)-s.room))
	return s
}

// shown returns the lines that the terminal shows.
func (s *screenful) shown() []string {
	return slices.Concat(s.titles, s.ports[s.first:min(s.first+s.room, len(s.ports))])
}

// foot returns the last line.
func (m *model) foot() string {
	if m.editing {
		return "/" + m.filter + "_"
	}
	page, _ := m.page()
	var parts []string
	for _, key := range []string{"q quit", "? help", "/ filter", "<> sort", "r reverse", "i idle", "↑↓ scroll"} {
		name, what, _ := strings.Cut(key, " ")
		parts = append(parts, page.Styled(layout.Title, name)+" "+what)
	}
	return strings.Join(parts, "  ")
}
