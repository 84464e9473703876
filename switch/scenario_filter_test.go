package vswitch_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/datadriven"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

// Filters in scenarios.

// setFilters makes filters and sets: lines "set NAME addresses=A,… ports=N,…", and "filter NAME
// DEFAULT", followed by lines "RULE ACTION KEY=VALUE…".
func (s *scenario) setFilters(d *datadriven.TestData) (string, error) {
	c := vswitch.Change{KeepStatic: true, SetFilters: true}
	for _, words := range lines(d) {
		switch words[0] {
		case "set":
			c.Sets = append(c.Sets, s.filterSet(words[1], words[2:]))
		case "filter":
			c.Filters = append(c.Filters, vswitch.FilterConfig{Name: words[1], Default: vswitch.FilterAction(words[2])})
		default:
			f := &c.Filters[len(c.Filters)-1]
			f.Rules = append(f.Rules, s.filterRule(words))
		}
	}
	_, err := s.s.Apply(&c)
	return "", err
}

func (s *scenario) filterSet(name string, settings []string) vswitch.SetConfig {
	set := vswitch.SetConfig{Name: name}
	for _, w := range settings {
		switch key, v, _ := strings.Cut(w, "="); key {
		case "addresses":
			set.Addresses = s.prefixes(v)
		case "ports":
			set.Ports = ranges(v)
		default:
			s.t.Fatalf("no setting %q of a set", key)
		}
	}
	return set
}

// changeSet changes a set while frames may pass: "change-set NAME addresses=A,… ports=N,…".
func (s *scenario) changeSet(d *datadriven.TestData) (string, error) {
	for _, words := range lines(d) {
		set := s.filterSet(words[0], words[1:])
		err := s.s.UpdateSet(words[0], func(vswitch.SetConfig) (vswitch.SetConfig, error) { return set, nil })
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// ranges reads a list of numbers and ranges.
func ranges(list string) (rs []vswitch.Range) {
	for v := range strings.SplitSeq(list, ",") {
		rs = append(rs, must(vswitch.ParseRange(v, 65535)))
	}
	return rs
}

// split divides a list into names of sets, which begin with @, and the rest.
func split(list string) (rest string, sets []string) {
	var others []string
	for v := range strings.SplitSeq(list, ",") {
		if name, ok := strings.CutPrefix(v, "@"); ok {
			sets = append(sets, name)
		} else {
			others = append(others, v)
		}
	}
	return strings.Join(others, ","), sets
}

// protocols are the names of protocols and types in scenarios.
var (
	protocols  = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
	etherTypes = map[string]uint16{"ipv4": v4, "ipv6": v6, "arp": etherARP, "llc": vswitch.EtherTypeLLC}
)

func (s *scenario) filterRule(words []string) vswitch.FilterRule {
	r := vswitch.FilterRule{Name: words[0], Action: vswitch.FilterAction(words[1])}
	addresses := func(v string) (m vswitch.AddressMatch) {
		v, m.Sets = split(v)
		m.Prefixes = s.prefixes(v)
		return m
	}
	ports := func(v string) (m vswitch.PortMatch) {
		if v, m.Sets = split(v); v != "" {
			m.Ranges = ranges(v)
		}
		return m
	}
	for _, w := range words[2:] {
		key, v, _ := strings.Cut(w, "=")
		elements := strings.Split(v, ",")
		switch key {
		case "src_mac":
			r.SrcMACs = each(elements, vswitch.ParseMACMask)
		case "dst_mac":
			r.DstMACs = each(elements, vswitch.ParseMACMask)
		case "vlan":
			r.VLANs = ranges(v)
		case "pcp":
			r.PCPs = ranges(v)
		case "ethertype":
			for _, e := range elements {
				t, ok := etherTypes[e]
				if !ok {
					t = uint16(must(strconv.ParseUint(e, 0, 16)))
				}
				r.EtherTypes = append(r.EtherTypes, t)
			}
		case "src":
			r.Src = addresses(v)
		case "dst":
			r.Dst = addresses(v)
		case "proto":
			for _, e := range elements {
				r.Protos = append(r.Protos, protocol(e))
			}
		case "src_ports":
			r.SrcPorts = ports(v)
		case "dst_ports":
			r.DstPorts = ports(v)
		case "icmp_type":
			r.ICMPTypes = each(elements, vswitch.ParseICMPType)
		case "icmpv6_type":
			r.ICMPv6Types = each(elements, vswitch.ParseICMPType)
		case "tcp_flags":
			r.TCPFlags = must(vswitch.ParseTCPFlags(elements))
		case "established":
			r.Established = must(strconv.ParseBool(v))
		case "fragment":
			r.Fragment = vswitch.FragmentNo
			if must(strconv.ParseBool(v)) {
				r.Fragment = vswitch.FragmentYes
			}
		default:
			s.t.Fatalf("no key %q of a rule", key)
		}
	}
	return r
}

func protocol(name string) uint8 {
	p, ok := protocols[name]
	if !ok {
		p = uint8(must(strconv.ParseUint(name, 10, 8)))
	}
	return p
}

func each[T any](words []string, parse func(string) (T, error)) (list []T) {
	for _, w := range words {
		list = append(list, must(parse(w)))
	}
	return list
}

// filterCounts lists the rules that have matched frames.
func (s *scenario) filterCounts(*datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, f := range s.s.Filters() {
		list := func(name string, c *vswitch.RuleCounters) {
			if n := c.Frames.Load(); n > 0 {
				fmt.Fprintf(&out, "%s %s: frames %d, bytes %d\n", f.Config.Name, name, n, c.Bytes.Load())
			}
		}
		for i, c := range f.Rules {
			list(f.Config.Rules[i].Name, c)
		}
		list("default", f.Default)
	}
	if out.Len() == 0 {
		return "none\n", nil
	}
	return out.String(), nil
}

// flowPacket returns the packet that options describe, without payload, and its type: ip A>B, then
// tcp, udp or sctp N>M, icmp T/C or proto N, and flags F+G, frag first or frag later.
func flowPacket(options []string) (layers.EthernetType, []byte) {
	get := func(name string) (value, rest string, ok bool) {
		i := slices.Index(options, name)
		if i < 0 {
			return "", "", false
		}
		value, rest, _ = strings.Cut(strings.ReplaceAll(options[i+1], "/", ">"), ">")
		return value, rest, true
	}
	src, dst, _ := get("ip")
	is6 := strings.Contains(src, ":")
	header, proto := []byte(nil), layers.IPProtocolNoNextHeader
	for _, name := range []string{"tcp", "udp", "sctp", "icmp", "proto"} {
		first, second, ok := get(name)
		if !ok {
			continue
		}
		if name == "proto" {
			proto = layers.IPProtocol(protocol(first))
			continue
		}
		proto = layers.IPProtocol(protocol(name))
		switch name {
		case "tcp":
			flags, _, _ := get("flags")
			header = tcpHeader(first, second, flags)
		case "udp":
			header = udp(must(strconv.Atoi(first)), must(strconv.Atoi(second)))
		case "sctp":
			header = serialize(&layers.SCTP{SrcPort: layers.SCTPPort(must(strconv.Atoi(first))), DstPort: layers.SCTPPort(must(strconv.Atoi(second)))})
		case "icmp":
			header = []byte{byte(must(strconv.Atoi(first))), byte(must(strconv.Atoi(second))), 0, 0, 0, 0, 0, 0}
			if is6 {
				proto = icmp
			}
		}
	}
	which, _, fragment := get("frag")
	offset, more := uint16(0), fragment
	if which == "later" {
		offset, more, header = 100, false, nil
	}
	payload := slices.Concat(header, make([]byte, 60)) // the scenario's own payload overwrites it
	length := len(payload)
	if is6 {
		if fragment {
			payload, proto = frag(proto, offset, more, payload), extFrag
		}
		b := ip6(src, proto, payload)
		copy(b[24:40], net.ParseIP(dst).To16())
		return layers.EthernetTypeIPv6, b[:len(b)-length+len(header)]
	}
	flags := layers.IPv4Flag(0)
	if more {
		flags = layers.IPv4MoreFragments
	}
	b := ip4(src, dst, proto, flags, offset, payload)
	return layers.EthernetTypeIPv4, b[:len(b)-length+len(header)]
}

func tcpHeader(src, dst, flags string) []byte {
	h := &layers.TCP{SrcPort: layers.TCPPort(must(strconv.Atoi(src))), DstPort: layers.TCPPort(must(strconv.Atoi(dst))), DataOffset: 5}
	for f := range strings.SplitSeq(flags, "+") {
		switch f {
		case "syn":
			h.SYN = true
		case "ack":
			h.ACK = true
		case "rst":
			h.RST = true
		case "fin":
			h.FIN = true
		}
	}
	return serialize(h, gopacket.Payload{})
}
