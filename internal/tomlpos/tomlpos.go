// Package tomlpos finds the positions of the keys and tables of a TOML document. Package toml,
// which decodes the configuration, does not provide them: its MetaData has keys without positions,
// and one entry for all tables of an array.
//
// The document is parsed by package unstable of go-toml, which provides the position of each key
// and accepts keys that are defined twice. The values, and the decision whether the document is
// valid, are left to the decoder.
package tomlpos

import (
	"bytes"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Layout has the positions of the keys and tables of a document. For an invalid document, it covers
// the part before the first expression that cannot be parsed. An array within an array has the
// position of the outer one.
type Layout struct {
	Root    *Node
	Clashes []Clash // in the order of the document
}

// A Node is a key or a table, or an element of an array.
type Node struct {
	Line   int // from 1; 0 for the root
	Offset int // of the key's last part, in bytes

	defined bool // defined by a header or an assignment, not only as a parent of another key
	value   bool // assigned a value that is not an inline table
	kids    map[string]*Node
	elems   []*Node // elements, if the node is an array
}

// A Clash is a key that conflicts with an earlier definition, which makes the document invalid.
type Clash struct {
	Path       []string // path of the earlier definition
	First      int      // line of the earlier definition
	Line       int      // line of the conflicting key
	Start, End int      // byte range of the conflicting part of the key in the document

	// Twice is true if the key or table is defined a second time. It is false if a part of the key
	// would have to be a table, but was defined as a value.
	Twice bool
}

// Name returns the last part of the earlier definition's path.
func (c *Clash) Name() string { return c.Path[len(c.Path)-1] }

// Kid returns the node of a key. If the key is unknown, it returns n itself, as the nearest known
// position.
func (n *Node) Kid(key string) *Node {
	if k := n.kids[key]; k != nil {
		return k
	}
	return n
}

// Elem returns the node of an array's element, or n itself if the element is unknown.
func (n *Node) Elem(i int) *Node {
	if i < len(n.elems) {
		return n.elems[i]
	}
	return n
}

// Find returns the layout of a document.
func Find(doc []byte) Layout {
	f := finder{layout: Layout{Root: &Node{}}, doc: doc, line: 1}
	text := bytes.TrimPrefix(doc, []byte("\uFEFF")) // a byte order mark
	f.skipped = len(doc) - len(text)
	f.parser.Reset(text)
	table, path := f.layout.Root, []string(nil)
	for f.parser.NextExpression() {
		switch e := f.parser.Expression(); e.Kind {
		case unstable.Table:
			table, path = f.header(e, false)
		case unstable.ArrayTable:
			table, path = f.header(e, true)
		case unstable.KeyValue:
			f.assignment(table, path, e)
		}
	}
	return f.layout
}

type finder struct {
	parser  unstable.Parser
	layout  Layout
	doc     []byte
	skipped int // bytes at the start of doc that are not passed to the parser

	line, counted int // line number of the byte at offset counted in doc
}

// A part is one part of a dotted key.
type part struct {
	name       string
	line       int
	start, end int
}

// place returns the line and the offset at which a range begins. Calls must be in the order of the
// document, because lines are counted incrementally.
func (f *finder) place(r unstable.Range) (line, start int) {
	start = f.skipped + int(r.Offset)
	if start > f.counted {
		f.line += bytes.Count(f.doc[f.counted:start], []byte("\n"))
		f.counted = start
	}
	return f.line, start
}

func (f *finder) parts(it unstable.Iterator) (parts []part) {
	for it.Next() {
		k := it.Node()
		line, start := f.place(k.Raw)
		parts = append(parts, part{string(k.Data), line, start, start + int(k.Raw.Length)})
	}
	return parts
}

// header processes [a.b] or [[a.b]] and returns the node and the path of the table that begins
// there.
func (f *finder) header(e *unstable.Node, array bool) (*Node, []string) {
	n, path, last := f.enter(f.layout.Root, nil, f.parts(e.Key()))
	if !array {
		return f.define(n, path, last), append(path, last.name)
	}
	k := n.kids[last.name]
	if k == nil {
		k = n.add(last)
	}
	elem := &Node{Line: last.line, Offset: last.start}
	k.elems = append(k.elems, elem)
	return elem, append(path, last.name)
}

// assignment processes an assignment key = value within a table.
func (f *finder) assignment(table *Node, path []string, e *unstable.Node) {
	n, path, last := f.enter(table, path, f.parts(e.Key()))
	k := f.define(n, path, last)
	k.value = e.Value().Kind != unstable.InlineTable
	f.value(k, append(path, last.name), e.Value())
}

// value processes the contents of an array or an inline table.
func (f *finder) value(n *Node, path []string, v *unstable.Node) {
	it := v.Children()
	switch v.Kind {
	case unstable.Array:
		for it.Next() {
			elem := &Node{Line: n.Line, Offset: n.Offset}
			if r := it.Node().Raw; r.Length > 0 {
				elem.Line, elem.Offset = f.place(r)
			}
			n.elems = append(n.elems, elem)
			f.value(elem, path, it.Node())
		}
	case unstable.InlineTable:
		for it.Next() {
			f.assignment(n, path, it.Node())
		}
	}
}

// enter descends from a table along all parts of a key except the last one. At an array of tables
// it descends into the last element. It returns the node reached, its path, and the last part.
func (f *finder) enter(n *Node, path []string, key []part) (*Node, []string, part) {
	path = path[:len(path):len(path)]
	for _, p := range key[:len(key)-1] {
		path = append(path, p.name)
		k := n.kids[p.name]
		switch {
		case k == nil:
			k = n.add(p)
		case len(k.elems) > 0:
			k = k.elems[len(k.elems)-1]
		case k.value:
			f.clash(path, k, p, false)
			k = &Node{Line: p.line, Offset: p.start} // not part of the tree
		}
		n = k
	}
	return n, path, key[len(key)-1]
}

// define returns the child node that a header or an assignment defines.
func (f *finder) define(n *Node, path []string, p part) *Node {
	k := n.kids[p.name]
	switch {
	case k == nil:
		k = n.add(p)
	case k.defined:
		f.clash(append(path, p.name), k, p, true)
		return &Node{Line: p.line, Offset: p.start} // not part of the tree
	default: // [a.b] came before [a]
		k.Line, k.Offset = p.line, p.start
	}
	k.defined = true
	return k
}

func (f *finder) clash(path []string, first *Node, p part, twice bool) {
	f.layout.Clashes = append(f.layout.Clashes, Clash{append([]string(nil), path...), first.Line, p.line, p.start, p.end, twice})
}

func (n *Node) add(p part) *Node {
	k := &Node{Line: p.line, Offset: p.start}
	if n.kids == nil {
		n.kids = make(map[string]*Node)
	}
	n.kids[p.name] = k
	return k
}
