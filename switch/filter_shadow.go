package vswitch

import (
	"net/netip"
	"slices"
)

// Rules that never match, because a rule before them matches all that they do.

// A ShadowedRule is a rule of a filter, by its index, that never matches because of another one.
type ShadowedRule struct{ Rule, By int }

// Shadowed returns the rules before each of which a rule that accepts or drops matches all that
// they match. It compares each condition of two rules by itself, and takes sets, whose entries can
// change, to be equal only if they are the same: so not every rule that never matches is found.
func (f *FilterConfig) Shadowed() (list []ShadowedRule) {
	for i := range f.Rules {
		for j := range f.Rules[:i] {
			if f.Rules[j].shadows(&f.Rules[i]) {
				list = append(list, ShadowedRule{i, j})
				break
			}
		}
	}
	return list
}

// shadows reports whether o, which comes after r, certainly never matches. A rule that drops
// matches frames of which a field cannot be read, and a rule that accepts leaves these to the rules
// after it.
func (r *FilterRule) shadows(o *FilterRule) bool {
	if r.Action == FilterCount || r.Action == FilterAccept && o.Action == FilterDrop && r.looksIntoPackets() {
		return false
	}
	return within(r.SrcMACs, o.SrcMACs, MACMask.covers) && within(r.DstMACs, o.DstMACs, MACMask.covers) &&
		within(r.VLANs, o.VLANs, Range.covers) && within(r.PCPs, o.PCPs, Range.covers) &&
		within(r.EtherTypes, o.EtherTypes, equal) && within(r.Protos, o.Protos, equal) &&
		r.Src.covers(&o.Src) && r.Dst.covers(&o.Dst) && r.SrcPorts.covers(&o.SrcPorts) && r.DstPorts.covers(&o.DstPorts) &&
		r.coversMessages(o) && r.TCPFlags.Set&^o.TCPFlags.Set == 0 && r.TCPFlags.Clear&^o.TCPFlags.Clear == 0 &&
		(!r.Established || o.Established) && (r.Fragment == FragmentAny || r.Fragment == o.Fragment)
}

// looksIntoPackets reports whether the rule has a condition on a field that may be unreadable.
func (r *FilterRule) looksIntoPackets() bool {
	return len(r.EtherTypes)+len(r.Protos)+len(r.ICMPTypes)+len(r.ICMPv6Types) > 0 || r.Established || r.TCPFlags != (FlagMatch{}) ||
		!r.Src.any() || !r.Dst.any() || !r.SrcPorts.any() || !r.DstPorts.any() || r.Fragment != FragmentAny
}

// coversMessages reports whether the types of ICMP messages that r names, of either version, are
// those of o or more.
func (r *FilterRule) coversMessages(o *FilterRule) bool {
	if len(r.ICMPTypes)+len(r.ICMPv6Types) == 0 {
		return true
	}
	return len(o.ICMPTypes)+len(o.ICMPv6Types) > 0 &&
		coverAll(r.ICMPTypes, o.ICMPTypes, ICMPType.covers) && coverAll(r.ICMPv6Types, o.ICMPv6Types, ICMPType.covers)
}

// within reports whether a condition is at least as narrow as another one. An empty list is no
// condition.
func within[T any](wide, narrow []T, covers func(wide, narrow T) bool) bool {
	return len(wide) == 0 || len(narrow) > 0 && coverAll(wide, narrow, covers)
}

// coverAll reports whether one element of wide covers each element of narrow.
func coverAll[T any](wide, narrow []T, covers func(wide, narrow T) bool) bool {
	for _, n := range narrow {
		if !slices.ContainsFunc(wide, func(w T) bool { return covers(w, n) }) {
			return false
		}
	}
	return true
}

func equal[T comparable](a, b T) bool { return a == b }

func (m MACMask) covers(o MACMask) bool {
	for i := range m.Mask {
		if m.Mask[i]&^o.Mask[i] != 0 || o.MAC[i]&m.Mask[i] != m.MAC[i] {
			return false
		}
	}
	return true
}

func (t ICMPType) covers(o ICMPType) bool {
	return t.Type == o.Type && (t.Code == AnyCode || t.Code == o.Code)
}

func (r Range) covers(o Range) bool { return r.First <= o.First && o.Last <= r.Last }

func coversPrefix(p, o netip.Prefix) bool { return p.Bits() <= o.Bits() && p.Contains(o.Addr()) }

func (m *AddressMatch) any() bool { return len(m.Prefixes)+len(m.Sets) == 0 }

func (m *AddressMatch) covers(o *AddressMatch) bool {
	return m.any() || !o.any() && coverAll(m.Prefixes, o.Prefixes, coversPrefix) && coverAll(m.Sets, o.Sets, equal)
}

func (m *PortMatch) any() bool { return len(m.Ranges)+len(m.Sets) == 0 }

func (m *PortMatch) covers(o *PortMatch) bool {
	return m.any() || !o.any() && coverAll(m.Ranges, o.Ranges, Range.covers) && coverAll(m.Sets, o.Sets, equal)
}
