package main

import (
	"strings"

	"vswitchd/internal/layout"
	"vswitchd/internal/top"
)

// Columns and values that several tables have, and their colors.

var (
	stateColumn   = layout.Column{Title: "STATE", Tone: top.StateTone}
	droppedColumn = layout.Column{Title: "DROPPED", Right: true, Short: shortCount, Tone: dropTone}
)

// counted is a column of numbers that count says, which can become large.
func counted(title string) layout.Column {
	return layout.Column{Title: title, Right: true, Short: shortCount}
}

// number is a column of numbers that stay small.
func number(title string) layout.Column { return layout.Column{Title: title, Right: true} }

// listed is a column of lists of names, of which one and a comma fit.
func listed(title string) layout.Column { return layout.Column{Title: title, Fold: 16} }

func dropTone(n string) layout.Tone {
	if n == "0" {
		return layout.Plain
	}
	return layout.Doubt
}

// fields prints names and values, a pair per line, without empty values.
func fields(w *layout.Page, pairs ...string) { w.Fields(fieldTone, pairs...) }

func fieldTone(name, value string) layout.Tone {
	switch {
	case name == "state":
		return top.StateTone(value)
	case name == "last error" || strings.HasSuffix(name, "is broken"):
		return layout.Bad
	case name == "hint" || name == "loop":
		return layout.Doubt
	case strings.HasPrefix(name, "dropped") && value != frames(0):
		return layout.Doubt
	}
	return layout.Plain
}
