package tomldoc

import (
	"bytes"
	"errors"
	"slices"
)

// Items of arrays and inline tables.

// addItem inserts a value into a container, at a path within it.
func (l *layout) addItem(c *container, p Path, v any) ([]byte, error) {
	if l.text[c.start] == '{' {
		return l.insertItem(c, len(c.items), pathText(p[len(c.path):])+" = "+Literal(v)), nil
	}
	if len(p) != len(c.path)+1 {
		return nil, errors.New("what it would be in is not there")
	}
	i, err := position(p[len(p)-1], len(c.items))
	if err != nil {
		return nil, err
	}
	return l.insertItem(c, i, Literal(v)), nil
}

// insertItem inserts an item before the item with the index i, or behind the last one.
func (l *layout) insertItem(c *container, i int, text string) []byte {
	switch {
	case len(c.items) == 0 && l.text[c.start] == '{':
		return l.splice(c.start+1, c.start+1, " "+text+" ")
	case len(c.items) == 0:
		return l.splice(c.start+1, c.start+1, text)
	case i < len(c.items):
		at := c.items[i].start
		if l.ownLine(at) {
			return l.splice(at, at, text+",\n"+l.indentOf(l.lineStart(at)))
		}
		return l.splice(at, at, text+", ")
	}
	last := c.items[len(c.items)-1]
	end, trailing := l.comma(last.end)
	comma := ","
	if trailing {
		comma = ""
	}
	if !l.ownLine(last.start) || !l.restIsComment(end) {
		if trailing {
			return l.splice(end, end, " "+text+",")
		}
		return l.splice(last.end, last.end, ", "+text)
	}
	// The item has a line to itself, perhaps with a comment, and so gets the new one.
	line := l.lineEnd(end)
	indent := l.indentOf(l.lineStart(last.start))
	if trailing {
		text += ","
	}
	longer := &layout{text: l.splice(line, line, indent+text+"\n")}
	return longer.splice(last.end, last.end, comma)
}

// ownLine reports whether only white space is before a position in its line.
func (l *layout) ownLine(at int) bool {
	return len(bytes.TrimLeft(l.text[l.lineStart(at):at], " \t")) == 0
}

// restIsComment reports whether only white space and a comment follow in a line that is not the
// last one.
func (l *layout) restIsComment(at int) bool {
	rest := bytes.TrimLeft(l.text[at:l.lineEnd(at)], " \t\r")
	return len(rest) > 0 && (rest[0] == '\n' || rest[0] == '#')
}

// comma returns the end of the comma behind an item, and whether there is one; otherwise it returns
// the end of the item.
func (l *layout) comma(end int) (int, bool) {
	m := layout{text: l.text, pos: end}
	m.space()
	if m.at(',') {
		return m.pos + 1, true
	}
	return end, false
}

// removeItems removes the item with the index i, and others of an inline table that are within p.
func (l *layout) removeItems(c *container, i int, p Path) ([]byte, error) {
	text := l.removeItem(c, i)
	if next := scan(text); l.text[c.start] == '{' && slices.ContainsFunc(c.items[i+1:], func(it item) bool { return hasPrefix(it.path, p) }) {
		return next.remove(p)
	}
	return text, nil
}

// removeItem removes the item with the index i.
func (l *layout) removeItem(c *container, i int) []byte {
	it := c.items[i]
	end, hasComma := l.comma(it.end)
	at := span{it.start, end}
	if l.ownLine(it.start) && l.restIsComment(end) {
		at = span{l.lineStart(it.start), l.lineEnd(end)}
	} else if hasComma {
		for at.end < len(l.text) && (l.text[at.end] == ' ' || l.text[at.end] == '\t') {
			at.end++
		}
	}
	if hasComma || i == 0 {
		return l.splice(at.start, at.end, "")
	}
	// The comma before the item goes as well.
	before, _ := l.comma(c.items[i-1].end)
	if at.start == it.start {
		at.start = before
	}
	shorter := &layout{text: l.splice(at.start, at.end, "")}
	return shorter.splice(before-1, before, "")
}
