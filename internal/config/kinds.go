package config

import (
	"slices"

	"vswitchd/internal/config/key"
)

// Kinds are the kinds of port that a configuration may have.
type Kinds []*Kind

// ofTable returns the kind whose tables are [table.NAME], or nil.
func (ks Kinds) ofTable(table string) *Kind {
	i := slices.IndexFunc(ks, func(k *Kind) bool { return k.Table == table })
	if i < 0 {
		return nil
	}
	return ks[i]
}

// sort puts ports into the order of their kinds.
func (ks Kinds) sort(ports []*Port) {
	slices.SortStableFunc(ports, func(a, b *Port) int { return slices.Index(ks, a.Kind) - slices.Index(ks, b.Kind) })
}

// belongs returns what to say of a key that a port of one kind does not have and another one has;
// "": none has.
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
