package config

import (
	"errors"
	"fmt"

	"vswitchd/internal/config/key"
)

// This file is about keys that this version knows and does not implement: their default is
// accepted, anything else is refused. Whoever builds one of these moves its line to keys.go, where
// the VLAN mode dot1q-tunnel is, too.

// unsupportedPolicies are those of ports of all kinds.
func unsupportedPolicies() []key.Key {
	var keys []key.Key
	for _, k := range []struct {
		name string
		set  func(any) error
	}{
		{"neigh_suppress", only(false)},
	} {
		keys = append(keys, key.Key{Name: k.name, Value: key.Value{Set: k.set}, Unsupported: true})
	}
	return keys
}

var errUnsupported = errors.New("not supported by this version")

// only accepts one value, and reports whether another one has the wrong
// type or is merely unsupported.
func only[T comparable](want T) func(any) error {
	return func(v any) error {
		switch got, ok := v.(T); {
		case !ok:
			return fmt.Errorf("is %s, must be %s", key.KindOf(v), key.KindOf(want))
		case got != want:
			return fmt.Errorf("%w, must be %#v", errUnsupported, want)
		}
		return nil
	}
}
