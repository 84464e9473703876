package vswitch

import (
	"fmt"
	"unique"
)

// Isolated ports and communities: private VLANs (RFC 5517).

// A partition is a set of ports between which frames pass. Promiscuous ports have the zero value:
// they are in all partitions.
type partition = unique.Handle[string]

// Partitions of isolated ports as sources and as destinations. They differ, so that nothing passes
// between two isolated ports. Names of communities have no such characters.
var (
	fromIsolated = unique.Make(">isolated")
	toIsolated   = unique.Make("<isolated")
)

// partitions checks c.Isolated and c.Community, and returns the partitions of the port as a source
// and as a destination.
func partitions(c *PortConfig) (from, to partition, err error) {
	switch {
	case c.Isolated && c.Community != "":
		return from, to, badCommunity("an isolated port cannot be in a community")
	case c.Isolated:
		return fromIsolated, toIsolated, nil
	case c.Community == "":
		return from, to, nil
	case !validName(c.Community):
		return from, to, badCommunity("the name is %q (1 to 15 letters, digits and . _ -)", c.Community)
	}
	s := unique.Make(c.Community)
	return s, s, nil
}

func badCommunity(format string, args ...any) error {
	return &settingError{"community", fmt.Errorf("%w: "+format, append([]any{ErrBadCommunity}, args...)...)}
}

// parts reports whether isolation or communities keep frames from src from port to.
func (src *portView) parts(to *portView) bool {
	var all partition
	return src.from != all && to.to != all && src.from != to.to
}
