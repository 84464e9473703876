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

func (g groupAddr) compare(h groupAddr) int {
	return cmp.Or(cmp.Compare(g.hi, h.hi), cmp.Compare(g.lo, h.lo))
}

// wanted returns the members of a group for the data plane; nil: there are none.
func (g *mdbGroup) wanted() *mcastGroup {
	if g.empty() {
		return nil
	}
	to := &mcastGroup{key: g.key, ports: portsOf(g.members)}
	for _, f := range g.fixed {
		if f.source == (groupAddr{}) {
			to.ports = to.ports.with(f.port.id)
		} else {
			to.sources = append(to.sources, mcastSource{addr: f.source})
		}
	}
	if to.sources == nil {
		return to
	}
	slices.SortFunc(to.sources, func(a, b mcastSource) int { return a.addr.compare(b.addr) })
	to.sources = slices.CompactFunc(to.sources, func(a, b mcastSource) bool { return a.addr == b.addr })
	for i := range to.sources {
		to.sources[i].ports = slices.Clone(to.ports)
	}
	for _, f := range g.fixed {
		if f.source != (groupAddr{}) {
			ports := to.wantedFrom(f.source)
			*ports = ports.with(f.port.id)
		}
	}
	return to
}
