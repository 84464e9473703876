package config

import (
	"slices"

	"vswitchd/internal/config/key"
)

// Kinds are the kinds of port that a configuration may contain.
type Kinds []*Kind

// ofTable returns the kind whose tables are [table.NAME], or nil.
func (ks Kinds) ofTable(table string) *Kind {
	i := slices.IndexFunc(ks, func(k *Kind) bool { return k.Table == table })
	if i < 0 {
		return nil
	}
	return ks[i]
}

// sort sorts ports by the order of their kinds.
func (ks Kinds) sort(ports []*Port) {
	slices.SortStableFunc(ports, func(a, b *Port) int { return slices.Index(ks, a.Kind) - slices.Index(ks, b.Kind) })
}

// belongs returns the error text for a key in a table of the given kind that only another kind has.
// It returns "" if no other kind has the key.
func (ks Kinds) belongs(name string, kind *Kind) string {
	for _, other := range ks {
		if other == kind {
			continue
		}
		if k := key.Find(newPort(other, "", &defaults().Switch).Keys(), name); k != nil && !k.Flag {
			says := k.Elsewhere
			if says == "" {
				says = ", " + kind.Says
			}
			return "belongs to [" + other.Table + ".NAME]" + says
		}
	}
	return ""
}
