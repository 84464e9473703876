package tomldoc

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// A span is a range of bytes of a text.
type span struct{ start, end int }

// A statement is a header or an assignment of a text.
type statement struct {
	span          // whole lines, with what is behind the statement
	path     Path // of the table that a header opens, or of the value; with indices of arrays
	array    bool // a header [[...]]
	assigned bool // an assignment; otherwise a header
	key      span
	keyParts Path // as in the text
	section  int  // the index of the last header before an assignment; -1: there is none
}

// A container is an array or an inline table that is written as a value.
type container struct {
	span
	path  Path
	items []item
}

// An item is an element of an array, or an assignment in an inline table.
type item struct {
	span
	path Path
	base Path // of the table to which the item's key is relative
}

// A layout says where everything is in a valid text.
type layout struct {
	text       []byte
	pos        int
	statements []statement
	values     map[string]span // of assigned values and elements, by path
	containers []container
	arrays     map[string]int // elements of [[...]] so far, by path
}

func scan(text []byte) *layout {
	l := &layout{text: text, values: make(map[string]span), arrays: make(map[string]int)}
	if bytes.HasPrefix(text, []byte("\uFEFF")) {
		l.pos = len("\uFEFF")
	}
	section, table := -1, Path(nil)
	for {
		l.skip(" \t\r\n")
		if l.pos >= len(text) {
			return l
		}
		s := statement{span: span{start: l.lineStart(l.pos)}, section: section}
		switch {
		case l.at('#'):
			l.pos = l.lineEnd(l.pos)
			continue
		case l.at('['):
			s.array = l.pos+1 < len(text) && text[l.pos+1] == '['
			l.skip("[")
			_, key := l.key()
			table = l.resolve(key, s.array)
			s.path, section = table, len(l.statements)
		default:
			s.assigned = true
			s.key, s.keyParts = l.key()
			l.skip("= \t")
			s.path = slices.Concat(table, s.keyParts)
			l.value(s.path)
		}
		l.pos = l.lineEnd(l.pos)
		s.end = l.pos
		l.statements = append(l.statements, s)
	}
}

func (l *layout) at(c byte) bool { return l.pos < len(l.text) && l.text[l.pos] == c }

// skip skips any of the characters.
func (l *layout) skip(chars string) {
	for l.pos < len(l.text) && strings.IndexByte(chars, l.text[l.pos]) >= 0 {
		l.pos++
	}
}

// space skips white space, new lines and comments.
func (l *layout) space() {
	for l.skip(" \t\r\n"); l.at('#'); l.skip(" \t\r\n") {
		l.pos = l.lineEnd(l.pos)
	}
}

func (l *layout) lineStart(pos int) int { return bytes.LastIndexByte(l.text[:pos], '\n') + 1 }

// lineEnd returns the place behind the line of a position, with its new line.
func (l *layout) lineEnd(pos int) int {
	if i := bytes.IndexByte(l.text[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(l.text)
}

// key reads a dotted key.
func (l *layout) key() (at span, parts Path) {
	l.skip(" \t")
	at.start = l.pos
	for {
		l.skip(" \t")
		start := l.pos
		if l.at('"') || l.at('\'') {
			l.str()
		} else {
			for l.pos < len(l.text) && strings.IndexByte(" \t.=]", l.text[l.pos]) < 0 {
				l.pos++
			}
		}
		parts = append(parts, keyName(l.text[start:l.pos]))
		at.end = l.pos
		l.skip(" \t")
		if !l.at('.') {
			return at, parts
		}
		l.pos++
	}
}

// keyName returns the name that a part of a key stands for.
func keyName(part []byte) string {
	if part[0] != '"' && part[0] != '\'' {
		return string(part)
	}
	t, err := Parse(slices.Concat([]byte("v = "), part))
	if err != nil { // of no valid text
		return string(part)
	}
	name, _ := t.Get("v").(string)
	return name
}

// resolve returns the path of the table that a header opens.
func (l *layout) resolve(key Path, array bool) (p Path) {
	for i, part := range key {
		p = p.to(part)
		last := i == len(key)-1
		switch n := l.arrays[p.String()]; {
		case last && array:
			l.arrays[p.String()] = n + 1
			p = p.to(strconv.Itoa(n))
		case n > 0:
			p = p.to(strconv.Itoa(n - 1))
		}
	}
	return p
}

// str skips a string of any of the four forms.
func (l *layout) str() {
	quote := l.text[l.pos : l.pos+1]
	long := bytes.Repeat(quote, 3)
	isLong := bytes.HasPrefix(l.text[l.pos:], long)
	if isLong {
		quote = long
	}
	l.pos += len(quote)
	for l.pos < len(l.text) && !bytes.HasPrefix(l.text[l.pos:], quote) {
		if l.text[l.pos] == '\\' && quote[0] == '"' {
			l.pos++
		}
		l.pos++
	}
	l.pos = min(l.pos+len(quote), len(l.text))
	for range 2 { // up to two quotes more may belong to the contents of a long string
		if isLong && l.at(quote[0]) {
			l.pos++
		}
	}
}

// value reads a value at a path.
func (l *layout) value(p Path) {
	start := l.pos
	switch {
	case l.at('"'), l.at('\''):
		l.str()
	case l.at('['):
		l.container(p, ']')
	case l.at('{'):
		l.container(p, '}')
	default:
		for l.pos < len(l.text) && strings.IndexByte(",]}#\r\n", l.text[l.pos]) < 0 {
			l.pos++
		}
		for l.pos > start && strings.IndexByte(" \t", l.text[l.pos-1]) >= 0 {
			l.pos--
		}
	}
	l.values[p.String()] = span{start, l.pos}
}

// container reads an array or an inline table, up to and including its last character.
func (l *layout) container(p Path, last byte) {
	c := container{span: span{start: l.pos}, path: p}
	l.pos++
	for l.space(); l.pos < len(l.text) && !l.at(last); l.space() {
		before := l.pos
		it := item{span: span{start: l.pos}, base: p}
		if last == '}' {
			_, parts := l.key()
			l.skip("= \t")
			it.path = slices.Concat(p, parts)
		} else {
			it.path = p.to(strconv.Itoa(len(c.items)))
		}
		l.value(it.path)
		it.end = l.pos
		c.items = append(c.items, it)
		l.space()
		if l.at(',') {
			l.pos++
		}
		if l.pos == before { // in no valid text
			break
		}
	}
	l.pos = min(l.pos+1, len(l.text))
	c.end = l.pos
	l.containers = append(l.containers, c)
}
