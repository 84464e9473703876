package config

import (
	"errors"
	"fmt"

	"vswitchd/internal/config/key"
)

// This file declares the keys that this version knows but does not implement: only their default is
// accepted. The commit that implements a key moves its declaration to keys.go.

// unsupportedPolicies declares the unsupported keys of ports of all kinds.
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

// only accepts the value want. Its error says whether another value has the wrong type or is not
// supported.
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
