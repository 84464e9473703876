package tomldoc

import (
	"bytes"
	"errors"
	"slices"
)

// What Rewrite adds: assignments, and sections, which begin with headers.

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
	line := func(path Path) string { return pathText(path.to(key)) + " = " + Literal(v) + "\n" }
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
