package tomldoc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrRewrite says that Rewrite does not know how to edit a text.
var ErrRewrite = errors.New("the text cannot be edited")

// Rewrite edits a text so that it means what the tree does. Everything that need not change stays:
// comments on lines of their own, order, and how values are written. A comment behind a key that is
// removed goes with it, and so do comments between the lines of a table that is removed. The error
// wraps ErrRewrite if the text is valid, but is written in a way that Rewrite cannot edit.
func Rewrite(text []byte, want *Table) ([]byte, error) {
	have, err := Parse(text)
	if err != nil {
		return nil, err
	}
	for _, e := range Diff(have, want) {
		if text, err = edit(text, &e); err != nil {
			return nil, fmt.Errorf("%w: %s %s: %w", ErrRewrite, e.Op, e.Path, err)
		}
	}
	got, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRewrite, err)
	}
	if !got.Equal(want) {
		return nil, fmt.Errorf("%w: it would not mean what it should", ErrRewrite)
	}
	return text, nil
}

// edit applies an edit of a Diff to a text.
func edit(text []byte, e *Edit) ([]byte, error) {
	l := scan(text)
	switch e.Op {
	case "remove":
		return l.remove(e.Path)
	case "add":
		return l.add(e.Path, e.Value)
	}
	if at, ok := l.values[e.Path.String()]; ok {
		return l.splice(at.start, at.end, literal(e.Value)), nil
	}
	text, err := l.remove(e.Path)
	if err != nil {
		return nil, err
	}
	return scan(text).add(e.Path, e.Value)
}

// splice returns the text with a part replaced, and new lines as in the rest of the text.
func (l *layout) splice(start, end int, with string) []byte {
	if bytes.Contains(l.text, []byte("\r\n")) {
		with = strings.ReplaceAll(with, "\n", "\r\n")
	}
	return slices.Concat(l.text[:start], []byte(with), l.text[end:])
}

func hasPrefix(p, prefix Path) bool {
	return len(p) >= len(prefix) && slices.Equal(p[:len(prefix)], prefix)
}

// remove removes what is at a path.
func (l *layout) remove(p Path) ([]byte, error) {
	for _, c := range l.containers {
		for i := range c.items {
			if hasPrefix(c.items[i].path, p) && hasPrefix(p, c.path) && len(p) > len(c.path) {
				return l.removeItems(&c, i, p)
			}
		}
	}
	var gone []span
	for i := range l.statements {
		s := &l.statements[i]
		if !hasPrefix(s.path, p) || s.assigned && s.section >= 0 && hasPrefix(l.statements[s.section].path, p) {
			continue // not there, or removed with its section
		}
		if s.assigned && len(s.keyParts) > 1 && !l.defined(s.path[:len(s.path)-1], i) && len(s.path) == len(p) {
			// Without the key, its table would be gone as well.
			key := pathText(s.keyParts[:len(s.keyParts)-1])
			return l.splice(s.key.start, l.values[s.path.String()].end, key+" = {}"), nil
		}
		at := s.span
		if !s.assigned {
			at.end = l.sectionEnd(i)
		}
		gone = append(gone, at)
	}
	if gone == nil {
		return nil, errors.New("it is not there")
	}
	return l.cut(gone), nil
}

// cut removes parts of the text that begin and end with lines. Two blank lines that meet become
// one, and none is left at the end. The blank line behind a comment stays, since the comment is not
// about what follows.
func (l *layout) cut(gone []span) []byte {
	text := l.text
	for _, at := range slices.Backward(gone) {
		before, after := text[:min(at.start, len(text))], text[min(at.end, len(text)):]
		switch {
		case blankEnd(before) && blankStart(after):
			after = after[bytes.IndexByte(after, '\n')+1:]
		case blankEnd(before) && len(after) == 0:
			if before = bytes.TrimRight(before, "\r\n"); len(before) > 0 {
				before = l.text[:l.lineEnd(len(before))]
			}
		}
		text = slices.Concat(before, after)
	}
	return text
}

func blankEnd(text []byte) bool {
	return len(text) == 0 || bytes.HasSuffix(text, []byte("\n\n")) || bytes.HasSuffix(text, []byte("\n\r\n"))
}

func blankStart(text []byte) bool {
	return bytes.HasPrefix(text, []byte("\n")) || bytes.HasPrefix(text, []byte("\r\n"))
}

// defined reports whether a statement other than that with the index i makes the table at a path.
func (l *layout) defined(p Path, i int) bool {
	for j := range l.statements {
		if j != i && hasPrefix(l.statements[j].path, p) {
			return true
		}
	}
	return len(p) == 0
}

// sectionEnd returns the end of the last assignment that follows the header with the index i before
// the next header, or of the header itself.
func (l *layout) sectionEnd(i int) int {
	end := l.statements[i].end
	for j := i + 1; j < len(l.statements) && l.statements[j].assigned; j++ {
		end = l.statements[j].end
	}
	return end
}

// add adds a value at a path at which there is none. A path that ends with the index of an array
// inserts.
func (l *layout) add(p Path, v any) ([]byte, error) {
	parent := p[:len(p)-1]
	if c := l.containerOf(parent); c != nil {
		return l.addItem(c, p, v)
	}
	if n := l.arrays[parent.String()]; n > 0 {
		return l.addElement(parent, p[len(p)-1], n, v)
	}
	if isSection(v) {
		return l.addSections(p, v), nil
	}
	return l.addLine(parent, p[len(p)-1], v), nil
}

// containerOf returns the innermost container in which something at a path is written, or nil.
func (l *layout) containerOf(p Path) (in *container) {
	for i := range l.containers {
		if c := &l.containers[i]; hasPrefix(p, c.path) && (in == nil || len(c.path) > len(in.path)) {
			in = c
		}
	}
	return in
}

// addLine adds an assignment to a table.
func (l *layout) addLine(table Path, key string, v any) []byte {
	line := func(path Path) string { return pathText(path.to(key)) + " = " + literal(v) + "\n" }
	for i := range l.statements {
		if s := &l.statements[i]; !s.assigned && slices.Equal(s.path, table) {
			return l.insertLine(l.sectionEnd(i), l.indent(i), line(nil))
		}
	}
	for i := range slices.Backward(l.statements) {
		s := &l.statements[i]
		if !s.assigned || len(s.path) <= len(table) || !hasPrefix(s.path, table) {
			continue
		}
		base := Path(nil)
		if s.section >= 0 {
			base = l.statements[s.section].path
		}
		if hasPrefix(table, base) {
			return l.insertLine(s.end, l.indentOf(s.start), line(table[len(base):]))
		}
	}
	if len(table) == 0 { // before all sections
		if len(l.statements) == 0 {
			return l.insertLine(len(l.text), "", line(nil))
		}
		return l.insertLine(l.statements[0].start, "", line(nil)+"\n")
	}
	// Only sections within the table are there.
	header := "[" + pathText(l.withoutIndices(table)) + "]\n" + line(nil) + "\n"
	for i := range l.statements {
		if s := &l.statements[i]; hasPrefix(s.path, table) {
			return l.insertLine(l.withComments(s.start), "", header)
		}
	}
	return l.addSections(table, &Table{Entries: []Entry{{Key: key, Value: v}}})
}

// indent returns the indentation of the assignments that follow a header.
func (l *layout) indent(header int) string {
	if i := header + 1; i < len(l.statements) && l.statements[i].assigned {
		return l.indentOf(l.statements[i].start)
	}
	return l.indentOf(l.statements[header].start)
}

func (l *layout) indentOf(pos int) string {
	rest := l.text[pos:]
	return string(rest[:len(rest)-len(bytes.TrimLeft(rest, " \t"))])
}

// insertLine inserts lines at the start of a line, or at the end of the text.
func (l *layout) insertLine(at int, indent, lines string) []byte {
	if at > 0 && l.text[at-1] != '\n' {
		lines = "\n" + indent + lines
	} else {
		lines = indent + lines
	}
	return l.splice(at, at, lines)
}

// withComments returns the start of the comments directly above a line.
func (l *layout) withComments(start int) int {
	for start > 0 {
		above := l.lineStart(start - 1)
		if !bytes.HasPrefix(bytes.TrimLeft(l.text[above:start], " \t"), []byte("#")) {
			break
		}
		start = above
	}
	return start
}

// withoutIndices returns a path as it is written in a header.
func (l *layout) withoutIndices(p Path) (key Path) {
	for i, part := range p {
		if l.arrays[p[:i].String()] == 0 {
			key = append(key, part)
		}
	}
	return key
}

// sections returns the text of a table, or of an array of tables, with headers.
func (l *layout) sections(p Path, v any) string {
	key := l.withoutIndices(p)
	r := renderer{line: 1, fresh: make(map[int]bool)}
	switch v := v.(type) {
	case *Table:
		r.section(v, key, false)
	case []any:
		for _, e := range v {
			r.header("[["+pathText(key)+"]]", false)
			r.table(e.(*Table), key, false)
		}
	}
	return r.out.String()
}

// addSections adds a table, or an array of tables, behind the tables next to it.
func (l *layout) addSections(p Path, v any) []byte {
	at := -1
	for i := range l.statements {
		if s := &l.statements[i]; len(p) > 1 && hasPrefix(s.path, p[:len(p)-1]) {
			at = max(at, s.end)
			if !s.assigned {
				at = max(at, l.sectionEnd(i))
			}
		}
	}
	if at < 0 {
		at = len(l.text)
	}
	return l.insertSections(l.behindComments(at), l.sections(p, v))
}

// behindComments returns the end of the comments directly below a line, unless what follows them is
// no blank line: then they belong to that.
func (l *layout) behindComments(at int) int {
	end := at
	for end < len(l.text) && bytes.HasPrefix(bytes.TrimLeft(l.text[end:], " \t"), []byte("#")) {
		end = l.lineEnd(end)
	}
	if rest := bytes.TrimLeft(l.text[end:], " \t\r"); len(rest) == 0 || rest[0] == '\n' {
		return end
	}
	return at
}

// insertSections inserts sections at the start of a line, with a blank line on both sides.
func (l *layout) insertSections(at int, text string) []byte {
	before, after := l.text[:at], l.text[at:]
	if len(before) > 0 && before[len(before)-1] != '\n' {
		text = "\n" + text
	}
	if len(before) > 0 && !blankEnd(before) {
		text = "\n" + text
	}
	if len(after) > 0 && !blankStart(after) {
		text += "\n"
	}
	return l.splice(at, at, text)
}

// addElement inserts an element into an array of tables with n elements.
func (l *layout) addElement(array Path, index string, n int, v any) ([]byte, error) {
	t, ok := v.(*Table)
	if !ok {
		return nil, errors.New("the array consists of tables")
	}
	i, err := position(index, n)
	if err != nil {
		return nil, err
	}
	text := l.sections(array, []any{t})
	if i == n {
		return l.addSectionsBehind(array, text), nil
	}
	for j := range l.statements {
		if s := &l.statements[j]; !s.assigned && slices.Equal(s.path, array.to(index)) {
			return l.insertSections(l.withComments(s.start), text), nil
		}
	}
	return nil, errors.New("the element is not there")
}

// addSectionsBehind inserts sections behind everything within a path.
func (l *layout) addSectionsBehind(p Path, text string) []byte {
	at := 0
	for i := range l.statements {
		if s := &l.statements[i]; !s.assigned && hasPrefix(s.path, p) {
			at = max(at, l.sectionEnd(i))
		}
	}
	return l.insertSections(l.behindComments(at), text)
}
