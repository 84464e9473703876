// Package key declares keys of the configuration: each with its name, how its value is read,
// checked and shown, one line of documentation, and when a change of it takes effect.
//
// A declaration is bound to the field that the value is stored in. All that is to be known of a key
// is derived from its declaration: what the file may say (package config), what a reload compares,
// what the control API shows, and docs/configuration.md.
package key

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A Key is the declaration of one key, bound to a field.
type Key struct {
	Name string
	Doc  string // one line for docs/configuration.md, without a final period
	Live Live
	Value

	Required bool   // a table without the key is an error
	Default  string // for the documentation, where the value that a new table has does not say it
	Example  string // for a sample, as TOML, where there is no default

	// Changed returns what a reload says of a port whose key has another value now, such as
	// "moved to interface eth0"; "": nothing. Nil: a sentence that is made from Live.
	Changed func() string

	// Same is what a reload compares instead of the value; nil: the value.
	Same func() any

	// Elsewhere is what to say of the key in the table of another kind of port, behind "belongs to
	// [TABLE.NAME]". "": what the other kind says of itself.
	Elsewhere string

	Flag        bool // only flags of the command line can set it: it is no key of the file
	Unsupported bool // only the default is accepted
}

// Live says when a change of a key takes effect, if the configuration is loaded again.
type Live int

// Values of Live.
const (
	Now     Live = iota // at once
	Next                // for the next front-end that connects
	Restart             // not before vswitchd is started again: a reload with another value is refused
)

// String returns what docs/configuration.md says.
func (l Live) String() string {
	return [...]string{"at once", "next front-end", "restart"}[l]
}

// A Value is the place of a setting, and how it is written in a file.
type Value struct {
	// Type says what can be written, such as "integer, 1 to 128".
	Type string

	// Set checks what stands in the file (a string, int64, float64, bool, time.Time, []any,
	// map[string]any or []map[string]any, as the TOML library makes them), and stores it. Its error
	// says what is wrong, without naming the key; nothing is stored then.
	Set func(v any) error

	// Get returns what Set would have to be given for the value that is stored: a string, bool,
	// int64, []string or []int64.
	Get func() any
}

// Make returns a Value that is stored in dst. What read refuses is not stored.
func Make[T any](typ string, dst *T, read func(v any) (T, error), show func(T) any) Value {
	return Value{
		Type: typ,
		Set: func(v any) error {
			t, err := read(v)
			if err == nil {
				*dst = t
			}
			return err
		},
		Get: func() any { return show(*dst) },
	}
}

// compared is what a reload compares.
func (k *Key) compared() any {
	if k.Same != nil {
		return k.Same()
	}
	return k.Get()
}

// Differing returns those of keys whose values differ from those of the same keys in was: two lists
// of one declaration, bound to different places.
func Differing(keys, was []Key) (differ []Key) {
	for i := range keys {
		if !keys[i].Unsupported && !reflect.DeepEqual(keys[i].compared(), was[i].compared()) {
			differ = append(differ, keys[i])
		}
	}
	return differ
}

// Find returns the key of that name, or nil.
func Find(keys []Key, name string) *Key {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

// TOML returns a value, as Get returns it, as it is written in a file.
func TOML(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return list(v, strconv.Quote)
	case []int64:
		return list(v, func(n int64) string { return strconv.FormatInt(n, 10) })
	}
	return fmt.Sprint(v)
}

func list[T any](values []T, show func(T) string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = show(v)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
