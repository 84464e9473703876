package config

import (
	"errors"
	"fmt"
)

// unsupported returns the keys of a kind of table that this version knows and
// does not implement: their default is accepted, anything else is
// refused. This file is the whole list. Whoever builds one of these moves its
// line to schema.go.
func unsupported(kind string) []key {
	switch kind {
	case "switch":
		return []key{{"mcast_snooping", mcastSnooping}}
	case "port", "uplink":
		return unsupportedPolicies()
	}
	return nil
}

// unsupportedPolicies are those of ports and uplinks alike.
func unsupportedPolicies() []key {
	return []key{
		{"locked", only(false)},
		{"neigh_suppress", only(false)},
		{"allowed_macs", onlyEmpty},
		{"allowed_ips", onlyEmpty},
		{"ingress_policing_rate", onlyZero(parseRate)},
		{"ingress_policing_burst", onlyZero(parseSize)},
		{"egress_rate", onlyZero(parseRate)},
		{"storm_control_pps", only(int64(0))},
	}
}

var unsupportedVLANModes = []any{"dot1q-tunnel"}

// unsupportedTable refuses a table as a whole.
func unsupportedTable(t *table) {
	e := t.at("", "not supported by this version")
	e.Key = keyString(t.path...)
	t.p.errs = append(t.p.errs, e)
}

var errUnsupported = errors.New("not supported by this version")

// mcastSnooping accepts false, which is what the switch does. A switch that snoops takes
// multicast away from ports that have not asked for it; without a querier and the exceptions for
// neighbour discovery, that breaks IPv6 and mDNS.
func mcastSnooping(v any) error {
	var on bool
	if err := boolean(&on)(v); err != nil {
		return err
	}
	if on {
		return errors.New("multicast snooping is not built yet: multicast goes to all ports; must be false")
	}
	return nil
}

// only accepts one value, and reports whether another one has the wrong
// type or is merely unsupported.
func only[T comparable](want T) func(any) error {
	return func(v any) error {
		switch got, ok := v.(T); {
		case !ok:
			return fmt.Errorf("is %s, must be %s", kindOf(v), kindOf(want))
		case got != want:
			return fmt.Errorf("%w, must be %#v", errUnsupported, want)
		}
		return nil
	}
}

func onlyEmpty(v any) error {
	list, err := asArray(v)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("%w, must be empty", errUnsupported)
	}
	return err
}

func onlyZero(parse func(string) (uint64, error)) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		n, err := parse(s)
		if err == nil && n != 0 {
			err = fmt.Errorf(`%w, must be "0"`, errUnsupported)
		}
		return err
	}
}
