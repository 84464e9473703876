package top

import (
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

// keys are the keys and what they do, for the help.
var keys = []string{
	"q, Ctrl-C", "quit",
	"/", "show only ports with this in their name",
	"Esc", "show all ports again",
	"i", "hide idle ports, or show them",
	"<, >", "sort by another column",
	"r", "reverse the order",
	"Up, Down", "scroll by one port",
	"PgUp, PgDn", "scroll by one screen",
	"Home, End", "scroll to the first, to the last port",
	"?", "this help; any key ends it",
}

// press does what a key says.
func (m *model) press(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case m.help:
		m.help = false
	case m.editing:
		m.edit(name, key.Key().Text)
	default:
		return m.command(name)
	}
	return nil
}

// edit changes the filter.
func (m *model) edit(name, text string) {
	switch name {
	case "enter":
		m.editing = false
	case "esc":
		m.editing, m.filter = false, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case "ctrl+u":
		m.filter = ""
	default:
		m.filter += text
	}
	m.first = 0
}

func (m *model) command(name string) tea.Cmd {
	switch name {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help = true
	case "/":
		m.editing = true
	case "esc":
		m.filter, m.first = "", 0
	case "i":
		m.active, m.first = !m.active, 0
	case "<", "left":
		m.order = m.order.next(-1)
	case ">", "right":
		m.order = m.order.next(1)
	case "r":
		m.order.reverse = !m.order.reverse
	case "up", "k":
		m.scroll(-1)
	case "down", "j":
		m.scroll(1)
	case "pgup":
		m.scroll(-m.arrange().room)
	case "pgdown", "space":
		m.scroll(m.arrange().room)
	case "home":
		m.first = 0
	case "end":
		m.scroll(len(m.now.Ports)) // which is too far, so that the last ones are shown
	}
	return nil
}

// scroll moves the ports that are on the terminal by n rows, as far as there are more.
func (m *model) scroll(n int) {
	m.first = m.arrange().first + n
	m.first = m.arrange().first
}
