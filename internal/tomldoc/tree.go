package tomldoc

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/BurntSushi/toml"

	"vswitchd/internal/tomlpos"
)

// A Table is a TOML table, in which keys have an order. The values are strings, int64, float64,
// bool, time.Time, []any and *Table.
type Table struct {
	Entries []Entry

	fresh bool // made by a patch since the last Clone
}

// An Entry is a key of a table with its value.
type Entry struct {
	Key   string
	Value any

	fresh bool // set by a patch since the last Clone
}

// Parse parses a document.
func Parse(text []byte) (*Table, error) {
	var m map[string]any
	if _, err := toml.Decode(string(text), &m); err != nil {
		return nil, err
	}
	return ordered(m, tomlpos.Find(text).Root), nil
}

// ordered makes a table of a decoded one, in the order of the text.
func ordered(m map[string]any, node *tomlpos.Node) *Table {
	t := &Table{}
	for k, v := range m {
		t.Entries = append(t.Entries, Entry{Key: k, Value: value(v, node.Kid(k))})
	}
	slices.SortFunc(t.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(node.Kid(a.Key).Offset, node.Kid(b.Key).Offset), cmp.Compare(a.Key, b.Key))
	})
	return t
}

func value(v any, node *tomlpos.Node) any {
	switch v := v.(type) {
	case map[string]any:
		return ordered(v, node)
	case []map[string]any:
		list := make([]any, len(v))
		for i, m := range v {
			list[i] = ordered(m, node.Elem(i))
		}
		return list
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = value(e, node.Elem(i))
		}
		return list
	}
	return v
}

// index returns the index of a key, or -1.
func (t *Table) index(key string) int {
	return slices.IndexFunc(t.Entries, func(e Entry) bool { return e.Key == key })
}

// Get returns the value of a key, or nil.
func (t *Table) Get(key string) any {
	if i := t.index(key); i >= 0 {
		return t.Entries[i].Value
	}
	return nil
}

// Table returns the value of a key that is a table, or nil.
func (t *Table) Table(key string) *Table {
	sub, _ := t.Get(key).(*Table)
	return sub
}

// List returns the value of a key that is an array, or nil.
func (t *Table) List(key string) []any {
	list, _ := t.Get(key).([]any)
	return list
}

// Keys returns the keys of the table.
func (t *Table) Keys() []string {
	keys := make([]string, len(t.Entries))
	for i, e := range t.Entries {
		keys[i] = e.Key
	}
	return keys
}

// Set sets a key, which comes last if it is new.
func (t *Table) Set(key string, v any) {
	if i := t.index(key); i >= 0 {
		t.Entries[i] = Entry{key, v, true}
		return
	}
	t.Entries = append(t.Entries, Entry{key, v, true})
}

// Clone returns a copy that shares nothing with t, and in which nothing is fresh.
func (t *Table) Clone() *Table { return clone(t).(*Table) }

func clone(v any) any {
	switch v := v.(type) {
	case *Table:
		c := &Table{Entries: make([]Entry, len(v.Entries))}
		for i, e := range v.Entries {
			c.Entries[i] = Entry{Key: e.Key, Value: clone(e.Value)}
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	}
	return v
}

// Equal reports whether two trees mean the same: the order of keys means nothing, nor does an empty
// table or array at the top.
func (t *Table) Equal(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return equal(withoutEmpty(t), withoutEmpty(o))
}

// withoutEmpty returns the top of a document without tables and arrays that are empty.
func withoutEmpty(t *Table) *Table {
	c := &Table{}
	for _, e := range t.Entries {
		sub, isTable := e.Value.(*Table)
		list, isList := e.Value.([]any)
		if !(isTable && len(sub.Entries) == 0 || isList && len(list) == 0) {
			c.Entries = append(c.Entries, e)
		}
	}
	return c
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case *Table:
		b, ok := b.(*Table)
		return ok && len(a.Entries) == len(b.Entries) && !slices.ContainsFunc(a.Entries, func(e Entry) bool {
			i := b.index(e.Key)
			return i < 0 || !equal(e.Value, b.Entries[i].Value)
		})
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case float64: // NaN equals itself here
		b, ok := b.(float64)
		return ok && (a == b || a != a && b != b)
	}
	if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
		return false
	}
	return a == b || Literal(a) == Literal(b)
}
