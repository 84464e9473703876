// Package tomlpos finds where the keys and tables of a TOML document stand, which package toml, the
// decoder of the configuration, does not tell: its MetaData has keys without positions, and one
// entry for all tables of an array.
//
// The document is parsed by package unstable of go-toml, which knows where each key stands and does
// not mind keys that are defined twice. What the document means, and whether it is valid, is for
// the decoder to say.
package tomlpos

import (
	"bytes"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Layout is where things stand in a document. Of a document that is not valid, it has what comes
// before the first line that cannot be parsed. An array within an array stands where the outer one
// does.
type Layout struct {
	Root    *Node
	Clashes []Clash // in the order of the document
}

// A Node is a key or a table, or an element of an array.
type Node struct {
	Line   int // from 1; 0 for the root
	Offset int // of the key's last part, in bytes

	defined bool // by a header or an assignment, not merely on the way to one
	value   bool // of an assignment, and no table
	kids    map[string]*Node
	elems   []*Node // of an array
}

// A Clash is a key that no valid document has in that place.
type Clash struct {
	Path       []string // of the key that is there already
	First      int      // the line in which that is
	Line       int      // of the clash
	Start, End int      // where in the document the last part of the key stands

	// Twice is whether the key or table is defined a second time. Otherwise a part of the key would
	// have to be a table, and is a value.
	Twice bool
}

// Name returns the last part of the key that is there already.
func (c *Clash) Name() string { return c.Path[len(c.Path)-1] }

// Kid returns the node of a key, or n itself where it is not known: the nearest place that is.
func (n *Node) Kid(key string) *Node {
	if k := n.kids[key]; k != nil {
		return k
	}
	return n
}

// Elem returns the node of an array's element, or n itself.
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
	skipped int // bytes of doc that the parser is not given

	line, counted int // the line of the byte that far into doc
}

// A part is one part of a dotted key.
type part struct {
	name       string
	line       int
	start, end int
}

// place returns where a range begins. Ranges are asked for from the beginning of the document to
// its end.
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

// header takes [a.b] or [[a.b]] and returns the table that begins.
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

// assignment takes key = value below a table.
func (f *finder) assignment(table *Node, path []string, e *unstable.Node) {
	n, path, last := f.enter(table, path, f.parts(e.Key()))
	k := f.define(n, path, last)
	k.value = e.Value().Kind != unstable.InlineTable
	f.value(k, append(path, last.name), e.Value())
}

// value takes what is within an array or an inline table.
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

// enter goes from a table to that of all parts of a key but the last, through the last element of
// each array.
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

// define returns the kid for a header or an assignment that defines it.
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
