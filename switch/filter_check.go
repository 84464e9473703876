package vswitch

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// The checks of filters and sets: what is malformed, and what contradicts itself so that a rule
// could never match.

// A filterChecker collects what is wrong with a filter.
type filterChecker struct {
	sets   map[string]*SetConfig
	refuse func(rule int, key string, err error) // rule: -1 for the filter itself
	rule   int
	r      *FilterRule
}

func (c *filterChecker) bad(key, format string, args ...any) {
	c.refuse(c.rule, key, fmt.Errorf("%w: "+format, append([]any{ErrBadFilter}, args...)...))
}

// check checks a filter that refers to sets.
func (f *FilterConfig) check(sets map[string]*SetConfig, refuse func(rule int, key string, err error)) {
	c := &filterChecker{sets: sets, refuse: refuse, rule: -1}
	if !validName(f.Name) {
		refuse(-1, "", fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, f.Name))
	}
	if f.Default != FilterAccept && f.Default != FilterDrop {
		c.bad("default", "default is %q, must be %q or %q", f.Default, FilterAccept, FilterDrop)
	}
	if len(f.Rules) > MaxFilterRules {
		c.bad("rules", "there are %d rules, at most %d are possible", len(f.Rules), MaxFilterRules)
	}
	first := make(map[string]int)
	for i := range f.Rules {
		c.rule, c.r = i, &f.Rules[i]
		if j, ok := first[c.r.Name]; ok {
			c.bad("name", "rule %d has the name %q already", j+1, c.r.Name)
		} else {
			first[c.r.Name] = i
		}
		c.checkRule()
	}
}

func (c *filterChecker) checkRule() {
	r := c.r
	switch {
	case !validRuleName(r.Name):
		c.bad("name", "%q is not a name of a rule (1 to %d letters, digits and . _ -)", r.Name, MaxRuleName)
	case r.Name == DefaultRule:
		c.bad("name", "%q is the name of the filter's default", r.Name)
	}
	switch r.Action {
	case FilterAccept, FilterDrop, FilterCount:
	default:
		c.bad("action", "action is %q, must be %q, %q or %q", r.Action, FilterAccept, FilterDrop, FilterCount)
	}
	c.checkMACs("src_mac", r.SrcMACs)
	c.checkMACs("dst_mac", r.DstMACs)
	c.checkRanges("vlan", r.VLANs, maxVID)
	c.checkRanges("pcp", r.PCPs, 7)
	for _, t := range r.EtherTypes {
		switch {
		case isTag(t) || t == tpidOld || t == tpidOlder:
			c.bad("ethertype", "%#04x is a tag: rules match what is behind tags, and tags by vlan and pcp", t)
		case t != EtherTypeLLC && t < etherLeast:
			c.bad("ethertype", "%#04x is a length, not a type", t)
		}
	}
	c.checkPorts("src_ports", &r.SrcPorts)
	c.checkPorts("dst_ports", &r.DstPorts)
	c.checkICMP()
	c.checkTCP()
	c.checkFamilies()
}

func validRuleName(s string) bool {
	for i := range s {
		if !validName(s[i : i+1]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= MaxRuleName
}

func (c *filterChecker) checkMACs(key string, macs []MACMask) {
	for _, m := range macs {
		if m.MAC.addr()&^m.Mask.addr() != 0 {
			c.bad(key, "%s has bits that are not in its mask", m)
		} else if _, ok := m.spans(); !ok {
			c.bad(key, "%s leaves too many bits open between those that it names", m)
		}
	}
}

func (c *filterChecker) checkRanges(key string, ranges []Range, most uint16) {
	for _, r := range ranges {
		if r.First > r.Last || r.Last > most {
			c.bad(key, "%s is not within 0 to %d", r, most)
		}
	}
}

func (c *filterChecker) checkPorts(key string, m *PortMatch) {
	if !m.isSet() {
		return
	}
	c.checkRanges(key, m.Ranges, anyPort.Last)
	c.checkSets(key, m.Sets, func(s *SetConfig) (string, bool) {
		return "addresses and no ports", len(s.Ports) == 0 && len(s.Addresses) > 0
	})
	if !c.onlyProtos(protoTCP, protoUDP, protoSCTP) || len(c.r.Protos) == 0 {
		c.bad(key, "only tcp, udp and sctp have ports: proto has to name one or more of these, and nothing else")
	}
}

// checkSets checks the sets that a key names. wrong says what a set has that is of no use there.
func (c *filterChecker) checkSets(key string, names []string, wrong func(*SetConfig) (what string, is bool)) {
	for _, name := range names {
		s := c.sets[name]
		if s == nil {
			c.refuse(c.rule, key, fmt.Errorf("%w: %s", ErrNoSet, name))
		} else if what, is := wrong(s); is {
			c.bad(key, "set %s has %s", name, what)
		}
	}
}

// onlyProtos reports whether the rule names no protocols but these.
func (c *filterChecker) onlyProtos(list ...uint8) bool {
	return !slices.ContainsFunc(c.r.Protos, func(p uint8) bool { return !slices.Contains(list, p) })
}

func (c *filterChecker) checkICMP() {
	r := c.r
	for _, m := range []struct {
		key   string
		types []ICMPType
		proto uint8
	}{{"icmp_type", r.ICMPTypes, protoICMP}, {"icmpv6_type", r.ICMPv6Types, protoICMPv6}} {
		if len(m.types) == 0 {
			continue
		}
		if !c.onlyProtos(protoICMP, protoICMPv6) || len(r.Protos) > 0 && !slices.Contains(r.Protos, m.proto) {
			c.bad(m.key, "the protocols in proto have no such messages")
		}
		for _, t := range m.types {
			if t.Code < AnyCode || t.Code > 255 {
				c.bad(m.key, "%d is not a code", t.Code)
			}
		}
	}
	if len(r.ICMPTypes)+len(r.ICMPv6Types) > 0 && (r.SrcPorts.isSet() || r.DstPorts.isSet() || r.Established || r.TCPFlags != FlagMatch{}) {
		c.bad("", "no packet is of ICMP and has ports or TCP flags")
	}
}

func (c *filterChecker) checkTCP() {
	r := c.r
	key := "tcp_flags"
	if r.Established {
		key = "established"
	}
	switch {
	case !r.Established && r.TCPFlags == FlagMatch{}:
	case !c.onlyProtos(protoTCP):
		c.bad(key, "only tcp has flags")
	case r.TCPFlags.Set&r.TCPFlags.Clear != 0:
		c.bad("tcp_flags", "a flag is to be set and not to be set")
	case r.Established && r.TCPFlags.Clear&(tcpACK|tcpRST) == tcpACK|tcpRST:
		c.bad("tcp_flags", "a segment of an established connection has ACK or RST")
	}
}

// An ipFamily is a set of IP versions.
type ipFamily uint8

const (
	family4 ipFamily = 1 << iota
	family6
	familyAny = family4 | family6
)

func (f ipFamily) String() string {
	if f == family4 {
		return "IPv4"
	}
	return "IPv6"
}

func familyOf(p netip.Prefix) ipFamily {
	if p.Addr().Is4() {
		return family4
	}
	return family6
}

// family returns the IP versions of packets that can match.
func (m *AddressMatch) family() (f ipFamily) {
	for _, p := range m.Prefixes {
		f |= familyOf(p)
	}
	if len(m.Sets) > 0 || f == 0 {
		return familyAny
	}
	return f
}

// family returns the IP versions of packets that can match the rule, addresses aside.
func (c *filterChecker) family() ipFamily {
	r, f := c.r, familyAny
	inner := len(r.Protos)+len(r.ICMPTypes)+len(r.ICMPv6Types) > 0 || r.Established || r.TCPFlags != FlagMatch{} ||
		r.Fragment != FragmentAny || r.Src.isSet() || r.Dst.isSet()
	if len(r.EtherTypes) > 0 && inner {
		f = 0
		for _, t := range r.EtherTypes {
			switch t {
			case etherIPv4:
				f |= family4
			case etherIPv6:
				f |= family6
			default:
				c.bad("ethertype", "the rule matches fields of IP packets, and type %#04x is not IP", t)
				f |= familyAny // no further errors
			}
		}
	}
	if len(r.Protos) > 0 {
		var protos ipFamily
		for _, p := range r.Protos {
			switch p {
			case protoICMP:
				protos |= family4
			case protoICMPv6:
				protos |= family6
			default:
				protos = familyAny
			}
		}
		f &= protos
	}
	switch {
	case len(r.ICMPTypes) > 0 && len(r.ICMPv6Types) == 0:
		f &= family4
	case len(r.ICMPv6Types) > 0 && len(r.ICMPTypes) == 0:
		f &= family6
	}
	return f
}

func (c *filterChecker) checkFamilies() {
	r, f := c.r, c.family()
	if f == 0 {
		c.bad("", "the rule never matches: its protocols are not those of its IP version")
		return
	}
	for _, m := range []struct {
		key   string
		match *AddressMatch
	}{{"src", &r.Src}, {"dst", &r.Dst}} {
		for _, p := range m.match.Prefixes {
			switch {
			case !validPrefix(p):
				c.refuse(c.rule, m.key, fmt.Errorf("%w: %s", ErrBadPrefix, p))
			case familyOf(p)&f == 0:
				c.bad(m.key, "%s is %s, and the rule matches %s packets only", p, familyOf(p), f)
			}
		}
		c.checkSets(m.key, m.match.Sets, func(s *SetConfig) (string, bool) {
			return "ports and no addresses", len(s.Addresses) == 0 && len(s.Ports) > 0
		})
	}
	if r.Src.family()&r.Dst.family() == 0 {
		c.bad("dst", "no packet has an %s source and an %s destination", r.Src.family(), r.Dst.family())
	}
}

func validPrefix(p netip.Prefix) bool {
	return p.IsValid() && !p.Addr().Is4In6() && p == p.Masked()
}

// check checks a set.
func (s *SetConfig) check(refuse func(key string, err error)) {
	bad := func(key, format string, args ...any) {
		refuse(key, fmt.Errorf("%w: "+format, append([]any{ErrBadSet}, args...)...))
	}
	if !validName(s.Name) {
		refuse("", fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, s.Name))
	}
	for key, n := range map[string]int{"addresses": len(s.Addresses), "ports": len(s.Ports)} {
		if n > MaxSetEntries {
			bad(key, "there are %d entries, at most %d are possible", n, MaxSetEntries)
		}
	}
	for _, p := range s.Addresses {
		if !validPrefix(p) {
			refuse("addresses", fmt.Errorf("%w: %s", ErrBadPrefix, p))
			return
		}
	}
	prefixes := slices.Clone(s.Addresses)
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for i := 1; i < len(prefixes); i++ {
		if a, b := prefixes[i-1], prefixes[i]; a.Overlaps(b) {
			bad("addresses", "%s overlaps %s", b, a)
			prefixes[i] = a // what overlaps the next one
		}
	}
	ports := slices.Clone(s.Ports)
	slices.SortFunc(ports, func(a, b Range) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last)) })
	for i, r := range ports {
		switch {
		case r.First > r.Last:
			bad("ports", "%s is not a range", r)
		case i > 0 && r.First <= ports[i-1].Last:
			bad("ports", "%s overlaps %s", r, ports[i-1])
			ports[i].Last = max(r.Last, ports[i-1].Last)
		}
	}
}
