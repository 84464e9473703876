package vswitch

import (
	"cmp"
	"slices"
)

// What the data plane knows of the sources of a group.

// mcastGroup is the members of a group. It is immutable.
type mcastGroup struct {
	key     mdbKey
	ports   idSet         // get what comes from a source that is not in sources
	sources []mcastSource // sorted by address; nil: all sources are alike
	next    *mcastGroup
}

// mcastSource is the members of a group that want what comes from one source.
type mcastSource struct {
	addr  groupAddr
	ports idSet
}

// wantedFrom returns the ports that get the group's frames from a source.
func (g *mcastGroup) wantedFrom(source groupAddr) *idSet {
	i, found := slices.BinarySearchFunc(g.sources, source, func(s mcastSource, a groupAddr) int { return s.addr.compare(a) })
	if found {
		return &g.sources[i].ports
	}
	return &g.ports
}

// compare orders addresses.
func (g groupAddr) compare(h groupAddr) int {
	return cmp.Or(cmp.Compare(g.hi, h.hi), cmp.Compare(g.lo, h.lo))
}

// wanted returns the members of a group for the data plane; nil: there are none.
func (g *mdbGroup) wanted() *mcastGroup {
	if g.empty() {
		return nil
	}
	to := &mcastGroup{key: g.key}
	g.each(func(id portID, a groupAddr, _ bool) {
		if a == (groupAddr{}) {
			to.ports = to.ports.with(id)
		} else {
			to.sources = append(to.sources, mcastSource{addr: a})
		}
	})
	if to.sources == nil {
		return to
	}
	slices.SortFunc(to.sources, func(a, b mcastSource) int { return a.addr.compare(b.addr) })
	to.sources = slices.CompactFunc(to.sources, func(a, b mcastSource) bool { return a.addr == b.addr })
	for i := range to.sources {
		to.sources[i].ports = slices.Clone(to.ports)
	}
	g.each(func(id portID, a groupAddr, wants bool) {
		if a == (groupAddr{}) {
			return
		}
		if ports := to.wantedFrom(a); wants {
			*ports = ports.with(id)
		} else {
			*ports = ports.without(id)
		}
	})
	return to
}

// each calls f for each port that wants all sources, with the zero address, and for each source
// for which a port is an exception from what it wants of other sources. Static members come last.
func (g *mdbGroup) each(f func(id portID, source groupAddr, wants bool)) {
	for i := range g.members {
		e := &g.members[i]
		if e.exclude {
			f(e.port.id, groupAddr{}, true)
		}
		for _, s := range e.sources {
			if s.blocked == e.exclude {
				f(e.port.id, s.addr, !s.blocked)
			}
		}
	}
	for _, m := range g.fixed {
		if m.source != (groupAddr{}) {
			f(m.port.id, m.source, true)
			continue
		}
		f(m.port.id, groupAddr{}, true)
		for i := range g.members {
			if e := &g.members[i]; e.port == m.port {
				for _, s := range e.sources {
					if s.blocked {
						f(e.port.id, s.addr, true)
					}
				}
			}
		}
	}
}
