package config

import (
	"fmt"
	"slices"
	"strings"
)

// Pos is a position in a configuration file, or a flag.
type Pos struct {
	File string // a file's name, or a flag as it was given
	Line int    // from 1; 0 for a flag, and for a file that could not be read
}

func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error is one error of a configuration.
type Error struct {
	Pos
	Key string // such as port.vm1.socket; may be empty
	Msg string // one line
}

// Error returns "file:line: key: message", in one line.
func (e Error) Error() string {
	if e.Key == "" {
		return e.Pos.String() + ": " + e.Msg
	}
	return e.Pos.String() + ": " + e.Key + ": " + e.Msg
}

// Errors are all errors of a configuration, in the order of the file. An empty list means that
// there are none. Converted to an error interface, an empty list is not nil: use len or Err.
type Errors []Error

// Error returns all errors, one per line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// With returns these errors and others, in the order of the file. It omits those of others whose
// key already has an error in es.
func (es Errors) With(others Errors) Errors {
	all := slices.Clone(es)
	for _, o := range others {
		if !slices.ContainsFunc(es, func(e Error) bool { return e.Key == o.Key }) {
			all = append(all, o)
		}
	}
	return all.sorted()
}

// Err returns the errors as an error, nil if there are none.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// sorted sorts errors, in place, by their line in the file. Errors of flags follow in their
// original order.
func (es Errors) sorted() Errors {
	slices.SortStableFunc(es, func(a, b Error) int {
		switch {
		case a.Line == 0 && b.Line == 0:
			return 0
		case a.Line == 0:
			return 1
		case b.Line == 0:
			return -1
		}
		return a.Line - b.Line
	})
	return es
}

// where holds the positions of a table and of its keys, for errors that are detected after the
// walk, when several tables are compared.
type where struct {
	path string // such as port.vm1
	pos  Pos
	keys map[string]Pos
}

func (w *where) at(key string) Pos {
	if p, ok := w.keys[key]; ok {
		return p
	}
	return w.pos
}

// has reports whether a key was set.
func (w *where) has(key string) bool {
	_, ok := w.keys[key]
	return ok
}

// set records the position of a key.
func (w *where) set(key string, pos Pos) {
	if w.keys == nil {
		w.keys = make(map[string]Pos)
	}
	w.keys[key] = pos
}

// errorf makes an error about a key of the table.
func (w *where) errorf(key, format string, args ...any) Error {
	path := w.path
	if key != "" {
		path += "." + key
	}
	return Error{Pos: w.at(key), Key: path, Msg: fmt.Sprintf(format, args...)}
}
