package tomldoc

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Render returns the text of a tree: simple keys first, then a section for each table and for each
// element of an array of tables. fresh reports whether what is in a line, counted from 1, was set
// by a patch since the last Clone.
func (t *Table) Render() (text []byte, fresh func(line int) bool) {
	r := renderer{line: 1, fresh: make(map[int]bool)}
	r.table(t, nil, false)
	return r.out.Bytes(), func(line int) bool { return r.fresh[line] }
}

type renderer struct {
	out   bytes.Buffer
	line  int
	fresh map[int]bool
}

func (r *renderer) write(line string, fresh bool) {
	r.fresh[r.line] = fresh
	r.out.WriteString(line + "\n")
	r.line++
}

// table writes the keys of a table whose header has been written, and then its sections.
func (r *renderer) table(t *Table, path []string, fresh bool) {
	for _, e := range t.Entries {
		if !isSection(e.Value) {
			r.write(keyText(e.Key)+" = "+Literal(e.Value), fresh || e.fresh)
		}
	}
	for _, e := range t.Entries {
		at := append(path[:len(path):len(path)], e.Key)
		switch v := e.Value.(type) {
		case *Table:
			r.section(v, at, fresh || e.fresh)
		case []any:
			for _, elem := range v {
				if isSection(v) {
					sub := elem.(*Table)
					r.header("[["+pathText(at)+"]]", fresh || e.fresh || sub.fresh)
					r.table(sub, at, fresh || e.fresh || sub.fresh)
				}
			}
		}
	}
}

// section writes a table with its header, which is left out if all that the table has is sections.
func (r *renderer) section(t *Table, path []string, fresh bool) {
	implied := len(t.Entries) > 0
	for _, e := range t.Entries {
		implied = implied && isSection(e.Value)
	}
	if !implied {
		r.header("["+pathText(path)+"]", fresh || t.fresh)
	}
	r.table(t, path, fresh)
}

func (r *renderer) header(text string, fresh bool) {
	if r.out.Len() > 0 {
		r.write("", false)
	}
	r.write(text, fresh)
}

// isSection reports whether a value has sections: it is a table, or an array of tables.
func isSection(v any) bool {
	switch v := v.(type) {
	case *Table:
		return true
	case []any:
		for _, e := range v {
			if _, ok := e.(*Table); !ok {
				return false
			}
		}
		return len(v) > 0
	}
	return false
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func keyText(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return quote(key)
}

func pathText(path []string) string {
	parts := make([]string, len(path))
	for i, k := range path {
		parts[i] = keyText(k)
	}
	return strings.Join(parts, ".")
}

// Literal returns a value as it is written after "=", in one line.
func Literal(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = Literal(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *Table:
		if len(v.Entries) == 0 {
			return "{}"
		}
		parts := make([]string, len(v.Entries))
		for i, e := range v.Entries {
			parts[i] = keyText(e.Key) + " = " + Literal(e.Value)
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	// Floats and times are in no configuration that is accepted.
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(map[string]any{"v": v}); err != nil {
		panic(fmt.Sprintf("tomldoc: a value of type %T: %v", v, err))
	}
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "v = "))
}

// quote returns a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
