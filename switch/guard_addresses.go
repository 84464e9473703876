package vswitch

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Sets of addresses for guards. A look-up takes time logarithmic in the size of the set.

// A macSet is a sorted list of addresses.
type macSet []addr

func makeMACSet(macs []MAC) macSet {
	var s macSet
	for _, m := range macs {
		s = append(s, m.addr())
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// has reports whether a is in the set. Most sets have one address.
func (s macSet) has(a addr) bool {
	if len(s) == 1 {
		return s[0] == a
	}
	_, found := slices.BinarySearch(s, a)
	return found
}

// An ipv6 is an IPv6 address as a number. An IPv4 address is a uint32 likewise.
type ipv6 struct{ hi, lo uint64 }

// ipv6At reads the address at the start of b.
func ipv6At(b []byte) ipv6 {
	return ipv6{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a ipv6) compare(b ipv6) int {
	if a.hi != b.hi {
		return cmp.Compare(a.hi, b.hi)
	}
	return cmp.Compare(a.lo, b.lo)
}

// An ipSet is a set of IP addresses: sorted ranges that do not overlap.
type ipSet struct {
	v4 []span[uint32]
	v6 []span[ipv6]
}

// A span is the addresses from first to last.
type span[T any] struct{ first, last T }

// makeIPSet makes a set of prefixes, which are valid.
func makeIPSet(prefixes []netip.Prefix) *ipSet {
	s := new(ipSet)
	for _, p := range prefixes {
		b, host := p.Addr().As16(), p.Addr().BitLen()-p.Bits() // host: bits behind the prefix
		if p.Addr().Is4() {
			first := binary.BigEndian.Uint32(b[12:])
			s.v4 = append(s.v4, span[uint32]{first, first | uint32(uint64(1)<<host-1)})
			continue
		}
		first := ipv6At(b[:])
		last := ipv6{first.hi | ones(host-64), first.lo | ones(min(host, 64))}
		s.v6 = append(s.v6, span[ipv6]{first, last})
	}
	s.v4 = merge(s.v4, cmp.Compare[uint32])
	s.v6 = merge(s.v6, ipv6.compare)
	return s
}

// ones returns a number whose lowest n bits are set.
func ones(n int) uint64 {
	if n <= 0 {
		return 0
	}
	return ^uint64(0) >> (64 - n)
}

// merge sorts spans of prefixes. Of two prefixes that overlap, one contains the other, which merge
// removes.
func merge[T any](spans []span[T], compare func(a, b T) int) []span[T] {
	slices.SortFunc(spans, func(a, b span[T]) int {
		return cmp.Or(compare(a.first, b.first), compare(b.last, a.last))
	})
	var merged []span[T]
	for _, s := range spans {
		if n := len(merged); n == 0 || compare(s.first, merged[n-1].last) > 0 {
			merged = append(merged, s)
		}
	}
	return merged
}

// has4 reports whether an IPv4 address is in the set.
func (s *ipSet) has4(a uint32) bool {
	i, j := 0, len(s.v4)
	for i < j {
		if m := (i + j) / 2; s.v4[m].first <= a {
			i = m + 1
		} else {
			j = m
		}
	}
	return i > 0 && a <= s.v4[i-1].last
}

// has6 reports whether an IPv6 address is in the set.
func (s *ipSet) has6(a ipv6) bool {
	i, j := 0, len(s.v6)
	for i < j {
		if m := (i + j) / 2; s.v6[m].first.compare(a) <= 0 {
			i = m + 1
		} else {
			j = m
		}
	}
	return i > 0 && a.compare(s.v6[i-1].last) <= 0
}
