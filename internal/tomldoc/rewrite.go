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
		return l.splice(at.start, at.end, Literal(e.Value)), nil
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
