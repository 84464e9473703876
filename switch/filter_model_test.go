package vswitch_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A linear filter applies one rule after another to what gopacket has decoded. It is meant to be
// obviously right.
type linearFilter struct {
	vswitch.FilterConfig
	sets map[string]vswitch.SetConfig
}

// A value is a field of a packet.
type value struct {
	state valueState
	n     int
}

type valueState int

const (
	absent valueState = iota
	unread            // the frame ends before
	known
)

// A linearPacket is the fields of a frame.
type linearPacket struct {
	src, dst                             vswitch.MAC
	vlan, pcp                            int
	etype, proto, fragment, sport, dport value
	icmp4, icmp6, flags                  value
	addresses                            valueState
	from, to                             netip.Addr
	limit, at                            int // bytes that can be read; where the next layer begins
}

// field returns the value of a field that ends n bytes behind the beginning of the next layer.
func (p *linearPacket) field(n, v int) value {
	if p.at+n > p.limit {
		return value{unread, 0}
	}
	return value{known, v}
}

// decodeLinear decodes a frame of which the first limit bytes can be read.
func decodeLinear(t testing.TB, whole []byte, limit int) *linearPacket {
	p := &linearPacket{src: vswitch.MAC(whole[6:12]), dst: vswitch.MAC(whole[:6]), limit: limit}
	packet := gopacket.NewPacket(whole, layers.LayerTypeEthernet, gopacket.NoCopy)
	if packet.Layer(layers.LayerTypeEthernet) == nil {
		t.Fatalf("gopacket cannot decode %x", whole)
	}
	tags := 0
	p.at = 12
	for _, l := range packet.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			p.etype = p.field(2, int(l.EthernetType))
			if l.Length != 0 {
				p.etype = p.field(2, vswitch.EtherTypeLLC)
			}
			p.at = 14
		case *layers.Dot1Q:
			if tags++; tags == 1 {
				p.vlan, p.pcp = int(l.VLANIdentifier), int(l.Priority)
			}
			p.etype = p.field(4, int(l.Type))
			p.at += 4
		case *layers.LLC:
			p.at += 3
		case *layers.SNAP:
			if p.at += 5; p.at-2 > p.limit { // the frame ends within the header: it is LLC
				return p
			}
			p.at -= 2
			p.etype = p.field(2, int(l.Type))
			p.at += 2
		case *layers.IPv4:
			p.ipv4(l)
			return p
		case *layers.IPv6:
			p.ipv6(l, whole)
			return p
		}
	}
	if p.etype.state == unread {
		p.unreadIP()
	}
	return p
}

func (p *linearPacket) unreadIP() {
	p.addresses = unread
	p.unreadInner()
}

func (p *linearPacket) unreadInner() {
	for _, f := range []*value{&p.proto, &p.fragment, &p.sport, &p.dport, &p.icmp4, &p.icmp6, &p.flags} {
		*f = value{unread, 0}
	}
}

func (p *linearPacket) ipv4(l *layers.IPv4) {
	if p.etype.state == unread || p.at+20 > p.limit {
		p.unreadIP()
		return
	}
	p.addresses = known
	p.from, _ = netip.AddrFromSlice(l.SrcIP.To4())
	p.to, _ = netip.AddrFromSlice(l.DstIP.To4())
	p.proto = value{known, int(l.Protocol)}
	p.limit = min(p.limit, p.at+int(l.Length))
	p.at += int(l.IHL) * 4
	switch {
	case l.FragOffset != 0:
		p.fragment = value{known, 2}
		return
	case l.Flags&layers.IPv4MoreFragments != 0:
		p.fragment = value{known, 1}
	default:
		p.fragment = value{known, 0}
	}
	p.upper(l.Protocol, l.Payload, false)
}

func (p *linearPacket) ipv6(l *layers.IPv6, whole []byte) {
	if p.etype.state == unread || p.at+40 > p.limit {
		p.unreadIP()
		return
	}
	p.addresses = known
	p.from, _ = netip.AddrFromSlice(l.SrcIP)
	p.to, _ = netip.AddrFromSlice(l.DstIP)
	end := p.at + 40 + int(l.Length)
	p.limit = min(p.limit, end)
	p.at += 40
	p.fragment = value{known, 0}
	next, rest := l.NextHeader, whole[p.at:end]
	for {
		var contents []byte
		packet := gopacket.NewPacket(rest, next.LayerType(), gopacket.NoCopy)
		switch h := packet.Layer(next.LayerType()).(type) {
		case *layers.IPv6HopByHop:
			next, contents = h.NextHeader, h.Contents
		case *layers.IPv6Destination:
			next, contents = h.NextHeader, h.Contents
		case *layers.IPv6Routing:
			next, contents = h.NextHeader, h.Contents
		case *layers.IPSecAH:
			next, contents = h.NextHeader, h.Contents
		case *layers.IPv6Fragment:
			next, contents = h.NextHeader, h.Contents
			if p.at+8 > p.limit {
				break
			}
			p.fragment = value{known, 1}
			if h.FragmentOffset != 0 {
				p.fragment = value{known, 2}
				p.proto = value{known, int(next)}
				if next == layers.IPProtocolIPv6Destination {
					p.proto = value{unread, 0}
				}
				return
			}
		default:
			p.proto = value{known, int(next)}
			p.upper(next, rest, true)
			return
		}
		if p.at+8 > p.limit {
			first := p.fragment
			p.unreadInner()
			if first.n == 1 {
				p.fragment = first
			}
			return
		}
		p.at += len(contents)
		rest = rest[len(contents):]
	}
}

// upper decodes a header of the transport layer, whose fields are at the same places in all packets
// of a protocol.
func (p *linearPacket) upper(proto layers.IPProtocol, b []byte, v6 bool) {
	b = slices.Concat(b, make([]byte, 20))
	layer := func() gopacket.Layer {
		return gopacket.NewPacket(b, proto.LayerType(), gopacket.NoCopy).Layer(proto.LayerType())
	}
	switch proto {
	case layers.IPProtocolTCP:
		h := layer().(*layers.TCP)
		p.sport, p.dport = p.field(4, int(h.SrcPort)), p.field(4, int(h.DstPort))
		flags := 0
		for i, f := range []bool{h.FIN, h.SYN, h.RST, h.PSH, h.ACK, h.URG, h.ECE, h.CWR} {
			if f {
				flags |= 1 << i
			}
		}
		p.flags = p.field(14, flags)
	case layers.IPProtocolUDP:
		h := layer().(*layers.UDP)
		p.sport, p.dport = p.field(4, int(h.SrcPort)), p.field(4, int(h.DstPort))
	case layers.IPProtocolSCTP:
		h := layer().(*layers.SCTP)
		p.sport, p.dport = p.field(4, int(h.SrcPort)), p.field(4, int(h.DstPort))
	case layers.IPProtocolICMPv4:
		if !v6 {
			p.icmp4 = p.field(2, int(layer().(*layers.ICMPv4).TypeCode))
		}
		if p.icmp4.state == unread {
			p.icmp6 = p.icmp4
		}
	case layers.IPProtocolICMPv6:
		if v6 {
			p.icmp6 = p.field(2, int(layer().(*layers.ICMPv6).TypeCode))
		}
		if p.icmp6.state == unread {
			p.icmp4 = p.icmp6
		}
	}
}

// A verdict is whether a rule matches.
type verdict int

const (
	no verdict = iota
	maybe
	yes
)

// match returns whether a rule matches a packet.
func (f *linearFilter) match(r *vswitch.FilterRule, p *linearPacket) verdict {
	result := yes
	// and adds a condition on fields in a state; possible is false if no value matches.
	and := func(s valueState, possible, matches bool) {
		switch {
		case s == absent, !possible, s == known && !matches:
			result = no
		case s == unread && result == yes:
			result = maybe
		}
	}
	ranges := func(list []vswitch.Range, v value) {
		if len(list) > 0 {
			and(v.state, true, inRanges(list, v.n))
		}
	}
	macs := func(list []vswitch.MACMask, m vswitch.MAC) {
		if len(list) > 0 {
			and(known, true, slices.ContainsFunc(list, func(e vswitch.MACMask) bool {
				for i := range m {
					if m[i]&e.Mask[i] != e.MAC[i] {
						return false
					}
				}
				return true
			}))
		}
	}
	macs(r.SrcMACs, p.src)
	macs(r.DstMACs, p.dst)
	ranges(r.VLANs, value{known, p.vlan})
	ranges(r.PCPs, value{known, p.pcp})
	if len(r.EtherTypes) > 0 {
		and(p.etype.state, true, slices.Contains(r.EtherTypes, uint16(p.etype.n)))
	}
	for _, a := range []struct {
		match vswitch.AddressMatch
		addr  netip.Addr
	}{{r.Src, p.from}, {r.Dst, p.to}} {
		list := slices.Clone(a.match.Prefixes)
		for _, s := range a.match.Sets {
			list = append(list, f.sets[s].Addresses...)
		}
		if len(a.match.Prefixes)+len(a.match.Sets) > 0 {
			and(p.addresses, len(list) > 0, slices.ContainsFunc(list, func(x netip.Prefix) bool { return x.Contains(a.addr) }))
		}
	}
	if len(r.Protos) > 0 {
		and(p.proto.state, true, slices.Contains(r.Protos, uint8(p.proto.n)))
	}
	if r.Fragment != vswitch.FragmentAny {
		and(p.fragment.state, true, (r.Fragment == vswitch.FragmentYes) == (p.fragment.n > 0))
	}
	for _, a := range []struct {
		match vswitch.PortMatch
		port  value
	}{{r.SrcPorts, p.sport}, {r.DstPorts, p.dport}} {
		list := slices.Clone(a.match.Ranges)
		for _, s := range a.match.Sets {
			list = append(list, f.sets[s].Ports...)
		}
		if len(a.match.Ranges)+len(a.match.Sets) > 0 {
			and(a.port.state, len(list) > 0, inRanges(list, a.port.n))
		}
	}
	if len(r.ICMPTypes)+len(r.ICMPv6Types) > 0 {
		and(max(p.icmp4.state, p.icmp6.state), true, ofType(r.ICMPTypes, p.icmp4) || ofType(r.ICMPv6Types, p.icmp6))
	}
	if (r.TCPFlags != vswitch.FlagMatch{}) {
		and(p.flags.state, true, p.flags.n&int(r.TCPFlags.Set) == int(r.TCPFlags.Set) && p.flags.n&int(r.TCPFlags.Clear) == 0)
	}
	if r.Established {
		and(p.flags.state, true, p.flags.n&0x14 != 0)
	}
	return result
}

func inRanges(list []vswitch.Range, n int) bool {
	return slices.ContainsFunc(list, func(r vswitch.Range) bool { return int(r.First) <= n && n <= int(r.Last) })
}

func ofType(list []vswitch.ICMPType, v value) bool {
	return v.state == known && slices.ContainsFunc(list, func(t vswitch.ICMPType) bool {
		return int(t.Type) == v.n>>8 && (t.Code == vswitch.AnyCode || int(t.Code) == v.n&0xff)
	})
}

// usesUnread reports whether a rule matches on a field that cannot be read: whether it would match
// with certainty if all other fields did.
func (f *linearFilter) usesUnread(r *vswitch.FilterRule, p *linearPacket) bool {
	of := func(set bool, s valueState) bool { return set && s == unread }
	return of(len(r.EtherTypes) > 0, p.etype.state) ||
		of(len(r.Src.Prefixes)+len(r.Src.Sets)+len(r.Dst.Prefixes)+len(r.Dst.Sets) > 0, p.addresses) ||
		of(len(r.Protos) > 0, p.proto.state) || of(r.Fragment != vswitch.FragmentAny, p.fragment.state) ||
		of(len(r.SrcPorts.Ranges)+len(r.SrcPorts.Sets) > 0, p.sport.state) ||
		of(len(r.DstPorts.Ranges)+len(r.DstPorts.Sets) > 0, p.dport.state) ||
		of(len(r.ICMPTypes)+len(r.ICMPv6Types) > 0, max(p.icmp4.state, p.icmp6.state)) && p.icmp4.state != known && p.icmp6.state != known ||
		of(r.Established || r.TCPFlags != vswitch.FlagMatch{}, p.flags.state)
}

// decide returns the rules that count a packet, and the reason for which it is dropped, or "".
func (f *linearFilter) decide(p *linearPacket) (counted []string, reason string) {
	drop := func(unclear bool) string {
		if unclear {
			return "filter-unreadable"
		}
		return "filter"
	}
	anyUnread := false
	for i := range f.Rules {
		r := &f.Rules[i]
		anyUnread = anyUnread || f.usesUnread(r, p)
		switch m := f.match(r, p); {
		case m == no, m == maybe && r.Action != vswitch.FilterDrop:
			continue
		case r.Action == vswitch.FilterDrop:
			return append(counted, r.Name), drop(m == maybe)
		case r.Action == vswitch.FilterAccept:
			return append(counted, r.Name), ""
		}
		counted = append(counted, r.Name)
	}
	for i := range f.Rules {
		anyUnread = anyUnread || f.usesUnread(&f.Rules[i], p)
	}
	counted = append(counted, vswitch.DefaultRule)
	if f.Default == vswitch.FilterDrop {
		return counted, drop(anyUnread)
	}
	return counted, ""
}

// A filterRand makes random filters and frames from few values, so that they meet.
type filterRand struct{ *rand.Rand }

// some returns some of a list's elements, or none.
func some[T any](r filterRand, list ...T) (out []T) {
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(3) {
			out = append(out, list[r.IntN(len(list))])
		}
	}
	return out
}

func (r filterRand) station() vswitch.MAC { return vswitchtest.Station(r.IntN(6)) }

func (r filterRand) addr(v6 bool) netip.Addr {
	host := byte(r.IntN(4))
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(r.IntN(3)), 8: byte(r.IntN(2)), 15: host})
	}
	return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(3)), host})
}

func (r filterRand) prefix(v6 bool) netip.Prefix {
	a := r.addr(v6)
	lengths := []int{0, 8, 16, 23, 24, 31, 32}
	if v6 {
		lengths = []int{0, 8, 63, 64, 72, 127, 128}
	}
	p, _ := a.Prefix(lengths[r.IntN(len(lengths))])
	return p
}

func (r filterRand) ports() (rs []vswitch.Range) {
	for range r.IntN(3) {
		first := uint16(r.IntN(6) * 13000)
		rs = append(rs, vswitch.Range{First: first, Last: first + uint16(r.IntN(2)*r.IntN(500))})
	}
	return rs
}

func (r filterRand) sets() map[string]vswitch.SetConfig {
	sets := make(map[string]vswitch.SetConfig)
	for _, name := range []string{"s0", "s1", "s2"} {
		var s vswitch.SetConfig
		for range r.IntN(5) {
			p := r.prefix(r.IntN(2) == 0)
			if !slices.ContainsFunc(s.Addresses, p.Overlaps) {
				s.Addresses = append(s.Addresses, p)
			}
		}
		sets[name] = s
	}
	sets["p0"] = vswitch.SetConfig{Ports: []vswitch.Range{{First: 13000, Last: 13000}, {First: 26000, Last: 40000}}}
	return sets
}

func (r filterRand) addresses(v6, v4 bool) (m vswitch.AddressMatch) {
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(2) {
			if is6 := r.IntN(2) == 0; is6 && v6 || !is6 && v4 {
				m.Prefixes = append(m.Prefixes, r.prefix(is6))
			}
		}
		if r.IntN(3) == 0 {
			m.Sets = []string{fmt.Sprint("s", r.IntN(3))}
		}
	}
	return m
}

func (r filterRand) rule(i int) vswitch.FilterRule {
	c := vswitch.FilterRule{Name: fmt.Sprint("r", i)}
	c.Action = []vswitch.FilterAction{vswitch.FilterAccept, vswitch.FilterDrop, vswitch.FilterCount}[r.IntN(3)]
	mac := func(s string) vswitch.MACMask { return must(vswitch.ParseMACMask(s)) }
	masks := []vswitch.MACMask{
		mac("52:54:00:00:00:00/44"), mac("52:54:00:00:00:02"), mac("52:54:00:00:00:00/ff:ff:ff:ff:ff:f5"),
		mac("01:00:00:00:00:00/01:00:00:00:00:00"), mac("02:00:00:00:00:00/02:00:00:00:00:00"), mac("00:00:00:00:00:00/0"),
		mac("00:00:00:00:00:01/00:00:00:00:00:ff"), mac("ff:ff:ff:ff:ff:ff"),
	}
	masks = slices.DeleteFunc(masks, func(m vswitch.MACMask) bool { return m.Mask == (vswitch.MAC{5: 0xff}) })
	if r.IntN(3) == 0 {
		c.SrcMACs, c.DstMACs = some(r, masks...), some(r, masks...)
	}
	if r.IntN(3) == 0 {
		c.VLANs = some(r, vswitch.Range{First: 0, Last: 0}, vswitch.Range{First: 1, Last: 1}, vswitch.Range{First: 2, Last: 4095})
		c.PCPs = some(r, vswitch.Range{First: 3, Last: 3}, vswitch.Range{First: 0, Last: 2})
	}
	v4, v6 := true, true
	switch r.IntN(6) {
	case 0:
		c.EtherTypes = some(r, uint16(0x0806), 0x0800, 0x86dd, 0x88b5, vswitch.EtherTypeLLC)
		return c
	case 1:
		c.Protos = some(r, uint8(6), 17, 132, 1, 58, 47)
		v4, v6 = !slices.Contains(c.Protos, 58), !slices.Contains(c.Protos, 1)
	case 2:
		c.Protos = append(some(r, uint8(6), 17, 132), 6)
		c.SrcPorts.Ranges, c.DstPorts.Ranges = r.ports(), r.ports()
		if r.IntN(3) == 0 {
			c.DstPorts.Sets = []string{"p0"}
		}
	case 3:
		c.Established = r.IntN(2) == 0
		c.TCPFlags = vswitch.FlagMatch{Set: uint8(r.IntN(4)), Clear: uint8(r.IntN(4)) << 2}
		if c.Established {
			c.TCPFlags.Clear &^= 0x04
		}
	case 4:
		if r.IntN(2) == 0 {
			c.ICMPTypes, v6 = some(r, vswitch.ICMPType{Type: 8, Code: vswitch.AnyCode}, vswitch.ICMPType{Type: 3, Code: 1}), false
		} else {
			c.ICMPv6Types, v4 = some(r, vswitch.ICMPType{Type: 135, Code: vswitch.AnyCode}, vswitch.ICMPType{Type: 3, Code: 1}), false
		}
	}
	c.Fragment = vswitch.FragmentMatch(r.IntN(2) * r.IntN(3))
	c.Src, c.Dst = r.addresses(v6, v4), r.addresses(v6, v4)
	return c
}

// filter makes a filter whose rules the switch accepts.
func (r filterRand) filter(rules int) *linearFilter { return r.filterOf("f", r.sets(), rules) }

// filterOf is filter for a filter with a name, which may refer to sets.
func (r filterRand) filterOf(name string, sets map[string]vswitch.SetConfig, rules int) *linearFilter {
	f := &linearFilter{sets: sets}
	f.Name, f.Default = name, []vswitch.FilterAction{vswitch.FilterAccept, vswitch.FilterDrop}[r.IntN(2)]
	for len(f.Rules) < rules {
		one := &linearFilter{sets: f.sets}
		one.Name, one.Default = name, f.Default
		one.Rules = []vswitch.FilterRule{r.rule(len(f.Rules))}
		if vswitch.Check(vswitch.Config{TableSize: 16}, one.change()) == nil {
			f.Rules = append(f.Rules, one.Rules[0])
		}
	}
	return f
}

func (f *linearFilter) change() *vswitch.Change {
	c := &vswitch.Change{KeepStatic: true, SetFilters: true, Filters: []vswitch.FilterConfig{f.FilterConfig}}
	c.Sets = setList(f.sets)
	return c
}

// setList returns sets with their names, in order.
func setList(sets map[string]vswitch.SetConfig) (list []vswitch.SetConfig) {
	for _, name := range []string{"s0", "s1", "s2", "p0"} {
		s := sets[name]
		s.Name = name
		list = append(list, s)
	}
	return list
}

// frame makes a whole frame.
func (r filterRand) frame() []byte {
	src, dst := r.station(), r.station()
	if r.IntN(4) == 0 {
		dst = broadcast
	}
	tags := r.IntN(3) * r.IntN(2)
	if r.IntN(100) == 0 {
		tags = 26
	}
	etype, packet := r.packet()
	list := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:]}}
	types := []layers.EthernetType{}
	for range tags {
		list = append(list, &layers.Dot1Q{VLANIdentifier: uint16(r.IntN(4)), Priority: uint8(r.IntN(5))})
		types = append(types, []layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ}[r.IntN(2)])
	}
	types = append(types, etype)
	list[0].(*layers.Ethernet).EthernetType = types[0]
	for i := range tags {
		list[i+1].(*layers.Dot1Q).Type = types[i+1]
	}
	if tags == 0 && r.IntN(8) == 0 {
		list[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeLLC
		llc := &layers.LLC{DSAP: 0xaa, SSAP: 0xaa, Control: 3}
		snap := &layers.SNAP{OrganizationalCode: []byte{0, 0, 0}, Type: etype}
		if r.IntN(2) == 0 {
			return serialize(append(list, llc, snap, gopacket.Payload(packet))...)
		}
		llc.DSAP, llc.SSAP = 0x42, 0x42
		return serialize(append(list, llc, gopacket.Payload(make([]byte, 40)))...)
	}
	return serialize(append(list, gopacket.Payload(packet))...)
}

func (r filterRand) packet() (layers.EthernetType, []byte) {
	proto := []layers.IPProtocol{6, 6, 17, 132, 1, 58, 47}[r.IntN(7)]
	port := func() uint16 { return uint16(r.IntN(6)*13000 + r.IntN(2)*r.IntN(500)) }
	var payload []byte
	switch proto {
	case 6:
		h := &layers.TCP{SrcPort: layers.TCPPort(port()), DstPort: layers.TCPPort(port()), DataOffset: 5}
		h.FIN, h.SYN, h.RST, h.ACK = r.IntN(4) == 0, r.IntN(2) == 0, r.IntN(4) == 0, r.IntN(2) == 0
		payload = serialize(h, gopacket.Payload("segment"))
	case 17:
		payload = udp(int(port()), int(port()))
	case 132:
		payload = serialize(&layers.SCTP{SrcPort: layers.SCTPPort(port()), DstPort: layers.SCTPPort(port())}, gopacket.Payload(nil))
	default:
		payload = []byte{[]byte{8, 3, 135, 0}[r.IntN(4)], byte(r.IntN(2)), 0, 0, 0, 0, 0, 0}
		payload = append(payload, make([]byte, r.IntN(40))...)
	}
	offset, more := uint16(0), false
	if r.IntN(4) == 0 {
		more, offset = r.IntN(2) == 0, uint16(r.IntN(2)*30)
	}
	switch r.IntN(8) {
	case 0:
		return layers.EthernetTypeARP, arp(1, macA, "10.0.0.1")
	case 1:
		return 0x88b5, payload
	case 2, 3, 4:
		flags := layers.IPv4Flag(0)
		if more {
			flags = layers.IPv4MoreFragments
		}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: r.addr(false).AsSlice(), DstIP: r.addr(false).AsSlice(), Flags: flags, FragOffset: offset}
		for range r.IntN(2) * r.IntN(10) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1, OptionLength: 1})
		}
		return layers.EthernetTypeIPv4, serialize(ip, gopacket.Payload(payload))
	}
	if more || offset != 0 {
		if r.IntN(3) == 0 { // an extension header within the fragments
			payload, proto = ext(proto, 1, payload), extDst
		}
		payload, proto = frag(proto, offset, more, payload), extFrag
	}
	for range r.IntN(2) * r.IntN(4) {
		payload, proto = ext(proto, 1+r.IntN(3), payload), extDst
	}
	if r.IntN(3) == 0 {
		payload, proto = ext(proto, 1, payload), extHop
	}
	b := ip6(r.addr(true).String(), proto, payload)
	copy(b[24:], r.addr(true).AsSlice())
	return layers.EthernetTypeIPv6, b
}

// TestFiltersAgainstLinearSearch compares compiled filters with the linear ones, on random rules
// and frames, of which some are cut: each verdict, reason and counter.
func TestFiltersAgainstLinearSearch(t *testing.T) {
	reasons := make(map[string]int)
	for seed := range uint64(60) {
		r := filterRand{rand.New(rand.NewPCG(seed, 7))}
		rules := []int{0, 1, 3, 20, 64, 65, 200}[seed%7]
		if !compareFilter(t, r, r.filter(rules), reasons) {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, why := range []string{"", "filter", "filter-unreadable"} {
		if reasons[why] < 300 {
			t.Errorf("%d of the frames have the verdict %q: this proves little", reasons[why], why)
		}
	}
}

// compareFilter sends frames through a filter, and returns whether all went as the linear filter
// says. It counts reasons.
func compareFilter(t *testing.T, r filterRand, f *linearFilter, reasons map[string]int) bool {
	t.Helper()
	l := newLab(t, vswitch.Config{TableSize: 64})
	if _, err := l.s.Apply(f.change()); err != nil {
		t.Fatal(err)
	}
	l.add("a", func(c *vswitch.PortConfig) { c.IngressFilter = "f" })
	l.add("b")
	frames, bytes := make(map[string]int), make(map[string]int)
	for range 12 {
		var batch [][]byte
		want := make(map[int]string)
		for i := range 1 + r.IntN(vswitch.MaxBatch) {
			whole := r.frame()
			b := whole
			if r.IntN(4) == 0 {
				b = whole[:18+r.IntN(len(whole)-17)]
			}
			counted, why := f.decide(decodeLinear(t, whole, min(len(b), vswitch.HeadLen)))
			for _, rule := range counted {
				frames[rule]++
				bytes[rule] += len(b)
			}
			if reasons[why]++; why != "" {
				want[i] = why
			}
			batch = append(batch, b)
		}
		l.send("a", batch...)
		got := make(map[int]string)
		for _, d := range l.ports["a"].in.Dropped() {
			for _, i := range d.Frames {
				if d.Stage == "filter" {
					got[i] = d.Reason
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("dropped (-want +got):\n%s", d)
			for i, b := range batch {
				if want[i] != got[i] {
					t.Logf("frame %d: %x\n%+v", i, b, f.FilterConfig)
					break
				}
			}
			return false
		}
	}
	return f.compareCounters(t, l, frames, bytes)
}

func (f *linearFilter) compareCounters(t *testing.T, l *lab, frames, bytes map[string]int) bool {
	t.Helper()
	info := l.s.Filters()[0]
	check := func(name string, c *vswitch.RuleCounters) {
		if int(c.Frames.Load()) != frames[name] || int(c.Bytes.Load()) != bytes[name] {
			t.Errorf("rule %s: %d frames, %d bytes, want %d, %d", name, c.Frames.Load(), c.Bytes.Load(), frames[name], bytes[name])
		}
	}
	for i, c := range info.Rules {
		check(f.Rules[i].Name, c)
	}
	check(vswitch.DefaultRule, info.Default)
	return !t.Failed()
}
