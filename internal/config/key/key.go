// Package key provides the declarations of configuration keys. A declaration consists of the key's
// name, how its value is read, checked and shown, one line of documentation, and when a change
// takes effect.
//
// A declaration is bound to the field that stores the value. Everything else about a key is derived
// from its declaration: the values that the file may contain (package config), what a reload
// compares, what the control API shows, and docs/configuration.md.
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
	Default  string // the default in the documentation, if the value of a new table does not express it
	Example  string // value in the sample, as TOML, if there is no default

	// Changed returns what a reload reports about a port if the key's value has changed, such as
	// "moved to interface eth0"; "": nothing. If Changed is nil, the text is derived from Live.
	Changed func() string

	// Same returns what a reload compares instead of the value. If Same is nil, the value is
	// compared.
	Same func() any

	// Elsewhere is appended to "belongs to [TABLE.NAME]" in the error about this key in the table
	// of another kind of port. If it is empty, the other kind's Kind.Says is used.
	Elsewhere string

	Flag bool // the key can be set only by a command-line flag, not in the file
}

// Live specifies when a change of a key takes effect after the configuration is reloaded.
type Live int

// Values of Live.
const (
	Now     Live = iota // at once
	Next                // for the next front-end that connects
	Restart             // only after a restart of vswitchd: a reload with another value is refused
)

// String returns the text for docs/configuration.md.
func (l Live) String() string {
	return [...]string{"at once", "next front-end", "restart"}[l]
}

// A Value binds a setting to its field and converts between the field and TOML.
type Value struct {
	// Type describes the accepted values, such as "integer, 1 to 128".
	Type string

	// Set checks the value in the file and stores it. v has the type that the TOML library decodes:
	// a string, int64, float64, bool, time.Time, []any, map[string]any or []map[string]any. The
	// error describes the problem without the name of the key; nothing is stored then.
	Set func(v any) error

	// Get returns the stored value in the form of the file: a string, bool, int64, []string,
	// []int64, or []any of strings and int64.
	Get func() any
}

// Make returns a Value that is stored in dst. read converts a TOML value and show converts back. A
// value for which read returns an error is not stored.
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

// compared returns the value that a reload compares.
func (k *Key) compared() any {
	if k.Same != nil {
		return k.Same()
	}
	return k.Get()
}

// Differing returns the elements of keys whose values differ from those in was. Both lists must
// come from the same declaration, bound to different structs.
func Differing(keys, was []Key) (differ []Key) {
	for i := range keys {
		if !reflect.DeepEqual(keys[i].compared(), was[i].compared()) {
			differ = append(differ, keys[i])
		}
	}
	return differ
}

// Find returns the key with the given name, or nil.
func Find(keys []Key, name string) *Key {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

// TOML returns a value that Get returned in TOML's notation.
func TOML(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return list(v, strconv.Quote)
	case []any:
		return list(v, TOML)
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
