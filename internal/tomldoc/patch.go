package tomldoc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vswitchd/internal/nearest"
)

// A Patch is a list of edits of a document, a JSON Patch (RFC 6902): each edit is applied to what
// the one before has left.
type Patch []Edit

// An Edit is one operation of a patch.
type Edit struct {
	Op    string // one of Ops
	Path  Path
	From  Path // with "move" and "copy"
	Value any  // with "add", "replace" and "test"; as in a Table
}

// Ops are the operations of a patch.
var Ops = []string{"add", "remove", "replace", "move", "copy", "test"}

// A Path is the way to a value: keys of tables, and indices of arrays in decimal, where "-" is the
// place behind the last element. As text it is a JSON Pointer (RFC 6901).
type Path []string

var escapes = strings.NewReplacer("~", "~0", "/", "~1")

// String returns the path as a JSON Pointer.
func (p Path) String() string {
	var b strings.Builder
	for _, part := range p {
		b.WriteString("/" + escapes.Replace(part))
	}
	return b.String()
}

var unescapes = strings.NewReplacer("~0", "~", "~1", "/")

// ParsePath parses a JSON Pointer.
func ParsePath(s string) (Path, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("the path %q does not begin with /", s)
	}
	parts := strings.Split(s[1:], "/")
	for i, part := range parts {
		parts[i] = unescapes.Replace(part)
	}
	return parts, nil
}

// Apply edits a tree. After an error, which names the edit, some edits have been applied: edit a
// Clone.
//
// Apply differs from RFC 6902 in one point: it makes the first table or array of a path, if there
// is none, so that the first mirror can be added like the second one.
func (p Patch) Apply(t *Table) error {
	for i, e := range p {
		if err := e.apply(t); err != nil {
			return fmt.Errorf("edit %d: %s %s: %w", i, e.Op, e.Path, err)
		}
	}
	return nil
}

func (e *Edit) apply(t *Table) error {
	switch e.Op {
	case "add":
		return t.add(e.Path, clone(e.Value))
	case "remove":
		_, err := t.remove(e.Path)
		return err
	case "replace":
		return t.replace(e.Path, clone(e.Value))
	case "copy":
		v, err := t.At(e.From)
		if err != nil {
			return err
		}
		return t.add(e.Path, clone(v))
	case "move":
		if len(e.Path) > len(e.From) && slices.Equal(e.Path[:len(e.From)], e.From) {
			return errors.New("a value cannot be moved into itself")
		}
		v, err := t.remove(e.From)
		if err != nil {
			return err
		}
		return t.add(e.Path, clone(v))
	case "test":
		v, err := t.At(e.Path)
		if err != nil {
			return err
		}
		if !equal(v, e.Value) {
			return fmt.Errorf("the value is %s", Literal(v))
		}
		return nil
	}
	return fmt.Errorf("there is no such operation, only %s", strings.Join(Ops, ", "))
}

var errRoot = errors.New("the document as a whole cannot be replaced")

// At returns the value at a path.
func (t *Table) At(p Path) (any, error) {
	var v any = t
	for i, part := range p {
		switch at := v.(type) {
		case *Table:
			j := at.index(part)
			if j < 0 {
				return nil, fmt.Errorf("there is no %s%s", p[:i+1], nearest.Hint(part, at.Keys()))
			}
			v = at.Entries[j].Value
		case []any:
			j, err := position(part, len(at))
			if err != nil || j == len(at) {
				return nil, fmt.Errorf("there is no %s: the array has %d elements", p[:i+1], len(at))
			}
			v = at[j]
		default:
			return nil, fmt.Errorf("%s is no table", p[:i])
		}
	}
	return v, nil
}

// position parses the index of an array of n elements. It may be n, the place behind the last one.
func position(part string, n int) (int, error) {
	if part == "-" {
		return n, nil
	}
	i, err := strconv.Atoi(part)
	if err != nil || i < 0 || i > n || strconv.Itoa(i) != part {
		return 0, fmt.Errorf("%q is no index of an array of %d elements", part, n)
	}
	return i, nil
}

// parent returns what the value at a path is in, or would be in, and the last part of the path. The
// path is not empty.
func (t *Table) parent(p Path) (in any, last string, err error) {
	in, err = t.At(p[:len(p)-1])
	return in, p[len(p)-1], err
}

func (t *Table) add(p Path, v any) error {
	if len(p) == 0 {
		return errRoot
	}
	if len(p) > 1 && t.index(p[0]) < 0 {
		if _, err := strconv.Atoi(p[1]); err == nil || p[1] == "-" {
			t.Set(p[0], []any{})
		} else {
			t.Set(p[0], &Table{})
		}
		t.Entries[len(t.Entries)-1].fresh = false
	}
	at, last, err := t.parent(p)
	if err != nil {
		return err
	}
	switch at := at.(type) {
	case *Table:
		at.Set(last, v)
		return nil
	case []any:
		i, err := position(last, len(at))
		if err != nil {
			return err
		}
		if sub, ok := v.(*Table); ok {
			sub.fresh = true
		}
		return t.store(p[:len(p)-1], slices.Insert(slices.Clone(at), i, v))
	}
	return fmt.Errorf("%s is no table", p[:len(p)-1])
}

// store replaces the array at a path.
func (t *Table) store(p Path, list []any) error {
	at, last, err := t.parent(p)
	if err != nil {
		return err
	}
	switch at := at.(type) {
	case *Table:
		i := at.index(last)
		at.Entries[i].Value = list
		at.Entries[i].fresh = at.Entries[i].fresh || !isSection(list)
	case []any:
		i, _ := position(last, len(at))
		at[i] = list
	}
	return nil
}

// existing returns the value at a path and what the value is in: a table and the index of an entry,
// or an array and the index of an element.
func (t *Table) existing(p Path) (v, in any, i int, err error) {
	if len(p) == 0 {
		return nil, nil, 0, errRoot
	}
	if v, err = t.At(p); err != nil {
		return nil, nil, 0, err
	}
	in, last, _ := t.parent(p)
	switch in := in.(type) {
	case *Table:
		i = in.index(last)
	case []any:
		i, err = position(last, len(in))
	}
	return v, in, i, err
}

func (t *Table) remove(p Path) (any, error) {
	v, in, i, err := t.existing(p)
	if err != nil {
		return nil, err
	}
	switch in := in.(type) {
	case *Table:
		in.Entries = slices.Delete(in.Entries, i, i+1)
		in.fresh = true // that a key is missing is reported at the table
	case []any:
		err = t.store(p[:len(p)-1], slices.Delete(slices.Clone(in), i, i+1))
	}
	return v, err
}

func (t *Table) replace(p Path, v any) error {
	_, in, i, err := t.existing(p)
	if err != nil {
		return err
	}
	switch in := in.(type) {
	case *Table:
		in.Set(p[len(p)-1], v)
	case []any:
		if sub, ok := v.(*Table); ok {
			sub.fresh = true
		}
		list := slices.Clone(in)
		list[i] = v
		err = t.store(p[:len(p)-1], list)
	}
	return err
}
