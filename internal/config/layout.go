package config

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// A layout is where things stand in the text of a TOML document: a tree of the
// keys with their lines. It supplements the TOML library, which
// decides alone what the document means and whether it is valid. For a valid
// document the layout is complete; in an invalid one the scan ends at the
// first thing that it cannot follow, and what was found until then stays.
type layout struct {
	root *node
	dups []dup
}

// A node is a key or a table, or an element of an array.
type node struct {
	line   int  // from 1; 0 for the root
	offset int  // of the key's last part, in bytes
	set    bool // by a header or an assignment, not merely on the way to one
	kids   map[string]*node
	elems  []*node // of an array
}

// A dup is a second definition of a key or table: which no TOML document may
// have, but people write ports twice all the same.
type dup struct {
	name       string // the last part of the key
	first      int    // the line of the first definition
	line       int
	start, end int // where in the document the last part of the key stands
}

// kid returns the node of a key, or n itself where the scan did not get there:
// the nearest place that is known.
func (n *node) kid(key string) *node {
	if k := n.kids[key]; k != nil {
		return k
	}
	return n
}

// elem returns the node of an array's element, or n itself.
func (n *node) elem(i int) *node {
	if i < len(n.elems) {
		return n.elems[i]
	}
	return n
}

// scan finds the layout of a document.
func scan(doc []byte) layout {
	s := scanner{doc: doc, line: 1, layout: layout{root: &node{}}}
	if bytes.HasPrefix(doc, []byte("\uFEFF")) { // a byte order mark
		s.i = len("\uFEFF")
	}
	s.document()
	return s.layout
}

// maxNesting is how deep arrays and inline tables are followed. Nothing in a
// configuration is nested more than a few levels.
const maxNesting = 32

type scanner struct {
	layout
	doc  []byte
	i    int // where we are
	line int // which line that is on
}

// A part is one part of a dotted key.
type part struct {
	name       string
	start, end int
}

// document scans headers and assignments to the end. Syntax that it does not
// know ends it.
func (s *scanner) document() {
	table := s.root
	for {
		s.space(true)
		if s.i == len(s.doc) {
			return
		}
		if s.peek() != '[' {
			if !s.assignment(table, 0) {
				return
			}
			continue
		}
		var ok bool
		if table, ok = s.header(); !ok {
			return
		}
	}
}

// header scans [a.b] or [[a.b]] and returns the node of the table that begins.
func (s *scanner) header() (*node, bool) {
	s.i++
	array := s.skip('[')
	key, ok := s.key()
	if !ok || !s.skip(']') || array && !s.skip(']') {
		return nil, false
	}
	n := s.root
	for _, p := range key[:len(key)-1] {
		n = s.enter(n, p)
	}
	last := key[len(key)-1]
	if !array {
		return s.define(n, last), true
	}
	n = s.enterArray(n, last)
	e := &node{line: s.line, offset: last.start}
	n.elems = append(n.elems, e)
	return e, true
}

// assignment scans key = value below the table.
func (s *scanner) assignment(table *node, depth int) bool {
	key, ok := s.key()
	if !ok {
		return false
	}
	n := table
	for _, p := range key[:len(key)-1] {
		n = s.enter(n, p)
	}
	n = s.define(n, key[len(key)-1])
	if !s.skip('=') {
		return false
	}
	s.space(false)
	return s.value(n, depth)
}

// enter returns the kid of that name, in an array that of its last element.
func (s *scanner) enter(n *node, p part) *node {
	k := n.kids[p.name]
	if k == nil {
		k = s.add(n, p)
	}
	if len(k.elems) > 0 {
		return k.elems[len(k.elems)-1]
	}
	return k
}

func (s *scanner) enterArray(n *node, p part) *node {
	if k := n.kids[p.name]; k != nil {
		return k
	}
	return s.add(n, p)
}

func (s *scanner) add(n *node, p part) *node {
	k := &node{line: s.line, offset: p.start}
	if n.kids == nil {
		n.kids = make(map[string]*node)
	}
	n.kids[p.name] = k
	return k
}

// define returns the kid of that name for a header or an assignment that
// defines it, and notes if that happened before.
func (s *scanner) define(n *node, p part) *node {
	k := n.kids[p.name]
	switch {
	case k == nil:
		k = s.add(n, p)
	case k.set:
		s.dups = append(s.dups, dup{p.name, k.line, s.line, p.start, p.end})
		return &node{line: s.line, offset: p.start} // not part of the tree
	default: // [a.b] came before [a]
		k.line, k.offset = s.line, p.start
	}
	k.set = true
	return k
}

// key scans a dotted key and the space around it.
func (s *scanner) key() (parts []part, ok bool) {
	for {
		s.space(false)
		p := part{start: s.i}
		if p.name, ok = s.keyPart(); !ok {
			return nil, false
		}
		p.end = s.i
		parts = append(parts, p)
		s.space(false)
		if !s.skip('.') {
			return parts, true
		}
	}
}

func (s *scanner) keyPart() (string, bool) {
	start := s.i
	switch s.peek() {
	case '"', '\'':
		if !s.str() {
			return "", false
		}
		return unquote(s.doc[start:s.i])
	}
	for s.i < len(s.doc) && isBare(s.doc[s.i]) {
		s.i++
	}
	return string(s.doc[start:s.i]), s.i > start
}

// unquote returns the string that a quoted key stands for. Escapes are rare
// and the TOML library knows them all, so it is asked.
func unquote(quoted []byte) (string, bool) {
	if inner := quoted[1 : len(quoted)-1]; !bytes.ContainsRune(inner, '\\') {
		return string(inner), utf8.Valid(inner)
	}
	var v struct{ K string }
	_, err := toml.Decode("K = "+string(quoted), &v)
	return v.K, err == nil
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// value scans a value; n is the node of the key that it belongs to.
func (s *scanner) value(n *node, depth int) bool {
	if depth > maxNesting {
		return false
	}
	switch s.peek() {
	case '"', '\'':
		return s.str()
	case '[':
		s.i++
		return s.array(n, depth)
	case '{':
		s.i++
		return s.inlineTable(n, depth)
	}
	start := s.i
	for s.i < len(s.doc) && strings.IndexByte(",]}#\r\n", s.doc[s.i]) < 0 {
		s.i++
	}
	return s.i > start
}

func (s *scanner) array(n *node, depth int) bool {
	for {
		s.space(true)
		if s.skip(']') {
			return true
		}
		e := &node{line: s.line, offset: s.i}
		n.elems = append(n.elems, e)
		if !s.value(e, depth+1) {
			return false
		}
		s.space(true)
		if !s.skip(',') && s.peek() != ']' {
			return false
		}
	}
}

func (s *scanner) inlineTable(n *node, depth int) bool {
	for {
		s.space(true)
		if s.skip('}') {
			return true
		}
		if !s.assignment(n, depth+1) {
			return false
		}
		s.space(true)
		if !s.skip(',') && s.peek() != '}' {
			return false
		}
	}
}

// str scans a string of any of the four kinds.
func (s *scanner) str() bool {
	quote := s.doc[s.i]
	long := bytes.Repeat([]byte{quote}, 3)
	if bytes.HasPrefix(s.doc[s.i:], long) {
		s.i += 3
		for s.i < len(s.doc) && !bytes.HasPrefix(s.doc[s.i:], long) {
			s.char(quote)
		}
		if s.i >= len(s.doc) {
			return false
		}
		s.i += 3
		for range 2 { // up to two quotes may stand right before the closing ones
			s.skip(quote)
		}
		return true
	}
	s.i++
	for s.i < len(s.doc) && s.doc[s.i] != quote && s.doc[s.i] != '\n' {
		s.char(quote)
	}
	return s.skip(quote)
}

// char scans one character of a string, two if the first escapes the second.
func (s *scanner) char(quote byte) {
	if quote == '"' && s.doc[s.i] == '\\' && s.i+1 < len(s.doc) {
		s.i++
	}
	if s.doc[s.i] == '\n' {
		s.line++
	}
	s.i++
}

// space scans blanks, and if lines is set also ends of lines and comments.
func (s *scanner) space(lines bool) {
	for s.i < len(s.doc) {
		switch c := s.doc[s.i]; {
		case c == ' ' || c == '\t':
		case lines && c == '\r':
		case lines && c == '\n':
			s.line++
		case lines && c == '#':
			for s.i+1 < len(s.doc) && s.doc[s.i+1] != '\n' {
				s.i++
			}
		default:
			return
		}
		s.i++
	}
}

// peek returns the byte we are at, 0 at the end.
func (s *scanner) peek() byte {
	if s.i == len(s.doc) {
		return 0
	}
	return s.doc[s.i]
}

// skip goes past a byte, if that is where we are.
func (s *scanner) skip(c byte) bool {
	if s.i == len(s.doc) || s.doc[s.i] != c {
		return false
	}
	s.i++
	return true
}
