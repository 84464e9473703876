package top

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"vswitchd/internal/control"
	"vswitchd/internal/rates"
)

// A model is what is on the terminal. It is changed only by messages: readings of counters, the
// passing of time, keys, and the size of the terminal.
type model struct {
	cfg    *Config
	colors bool

	width, height int // of the terminal

	last  *control.SwitchInfo // the reading before the next one
	now   rates.Interval      // what is shown
	known bool                // whether now has rates
	count int                 // intervals so far

	err    error         // of the last reading
	note   string        // what is new about vswitchd
	asked  time.Time     // when the reading began that has not ended; zero: none is under way
	silent time.Duration // since then
	notes  int           // readings for which note is still shown

	order   Order
	filter  string
	editing bool // the filter is being typed
	active  bool // only ports with traffic or drops are shown
	first   int  // index of the first port on the terminal
	help    bool // the help is shown instead of ports
}

// noteReadings is the number of readings for which a note is shown.
const noteReadings = 5

// patience is the time without an answer after which vswitchd is said not to answer.
const patience = 2 * time.Second

// reading is the message that counters have been read.
type reading struct {
	info *control.SwitchInfo
	err  error
}

// tick is the message that an interval is over.
type tick time.Time

func newModel(cfg *Config, first *control.SwitchInfo, colors bool) *model {
	m := &model{cfg: cfg, colors: colors, width: 80, height: 24, last: first, order: cfg.Order, filter: cfg.Filter}
	m.now, _ = rates.Between(nil, first)
	return m
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.wait() }

func (m *model) wait() tea.Cmd {
	return tea.Tick(m.cfg.Interval, func(t time.Time) tea.Msg { return tick(t) })
}

func (m *model) read() tea.Msg {
	info, err := m.cfg.Read(context.Background())
	return reading{info, err}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tick:
		if !m.asked.IsZero() {
			m.silent = time.Time(msg).Sub(m.asked)
			return m, m.wait()
		}
		m.asked = time.Time(msg)
		return m, tea.Batch(m.read, m.wait())
	case reading:
		return m, m.take(msg)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

// take takes a reading.
func (m *model) take(r reading) tea.Cmd {
	m.asked, m.silent = time.Time{}, 0
	lost := m.err != nil
	if m.err = r.err; r.err != nil {
		m.now, m.known = rates.Interval{}, false
		return nil
	}
	if m.notes--; m.notes <= 0 {
		m.note = ""
	}
	if text := news(m.last, r.info, lost); text != "" {
		m.note, m.notes = text, noteReadings
	}
	m.now, m.known = rates.Between(m.last, r.info)
	m.last = r.info
	if m.known {
		m.count++
	}
	if m.cfg.Count > 0 && m.count == m.cfg.Count {
		return tea.Quit
	}
	return nil
}

// totals returns the rates of all ports together, nil if they are not known.
func (m *model) totals() *rates.Rates {
	if !m.known {
		return nil
	}
	return &m.now.Totals
}

// ports returns the ports that are shown, in order, whether they fit the terminal or not.
func (m *model) ports() []rates.Port {
	list := m.now.Ports
	if m.active {
		list = nil
		for _, p := range m.now.Ports {
			if p.Rates != nil && p.Rates.RxFrames+p.Rates.TxFrames+p.Rates.Drops > 0 {
				list = append(list, p)
			}
		}
	}
	return selected(list, m.filter, m.order)
}
