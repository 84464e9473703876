package vswitch

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Filters: lists of rules that accept, drop or count frames. This file has their configuration;
// filter_check.go finds contradictions, filter_key.go reads the headers of frames,
// filter_compile.go makes the form that stage_filter.go uses, and filter_admin.go changes filters
// while frames pass.
//
// How rules are found. A filter of a thousand rules must not cost a thousand comparisons for each
// frame. The compiled form is that of aggregated bit vectors (Baboescu and Varghese, 2001). For
// each field that some rule names, the values of the field are divided into ranges whose values
// match the same rules. All ranges with the same rules are one class, which has a bit vector with a
// bit for each rule. A frame's class is found for each field by itself: by a table for fields of up
// to 17 bits, by a binary search for addresses. The rules that match the frame are the conjunction
// of its classes' vectors, and the first bit is the first rule. A summary of each vector, with a
// bit for each word that is not zero, tells which words of the conjunction have to be computed at
// all: one or two, usually. There may be 4096 rules, as many as a summary of 64 bits can describe.
//
// The alternatives were a hash table for each combination of masks (tuple space, as in Open
// vSwitch), whose number of look-ups an operator's rules, and in Open vSwitch also the senders of
// frames, can drive up; and a decision tree, whose size can grow exponentially with overlapping
// rules. Here the time for a frame is bounded by the number of fields and words, and the memory by
// the ranges times the rules. What cannot fit is refused (maxClassWords).
//
// Frames that do not have a field (an ARP packet has no ports) are a class, whose rules are those
// that do not name the field. Frames whose field cannot be read, because they end before it, are
// another class, whose rules are these and all rules that drop. So a frame that may be one to be
// dropped is dropped, and a frame is accepted only by a rule that certainly matches, or by default.
//
// Stateful filters will be a rule's match on the state of a connection: another field of
// filterKey, which a stage before stage filter finds out from a table of connections; the rules and
// their compiled form stay as they are.

// Errors of filters and sets. Returned errors wrap them.
var (
	ErrBadFilter = errors.New("bad filter")
	ErrBadSet    = errors.New("bad set")
	ErrNoFilter  = errors.New("no such filter")
	ErrNoSet     = errors.New("no such set")
)

// Limits of filters and sets.
const (
	MaxFilterRules = 64 * 64   // rules of a filter
	MaxSetEntries  = 16 * 1024 // addresses, and as many ports, of a set

	// MaxRuleName is the longest name of a rule, in bytes.
	MaxRuleName = 63

	// DefaultRule is the name under which the counters of a filter's default appear. No rule has
	// this name.
	DefaultRule = "default"
)

// A FilterAction is what is done with a frame that matches a rule.
type FilterAction string

// Actions of rules. A filter's default is FilterAccept or FilterDrop.
const (
	FilterAccept FilterAction = "accept" // the frame passes the filter
	FilterDrop   FilterAction = "drop"
	FilterCount  FilterAction = "count" // the frame is counted, and the next rules are applied
)

// A FilterConfig is the configuration of a filter. The first rule that matches a frame and does not
// only count it decides.
type FilterConfig struct {
	Name    string // as a port's
	Default FilterAction
	Rules   []FilterRule
}

// A FilterRule is a rule of a filter. A frame matches if it matches all fields that are set; it
// matches a list if it matches an element of the list. An empty field matches any frame.
type FilterRule struct {
	Name   string // 1 to MaxRuleName letters, digits and ". _ -", unique in the filter
	Action FilterAction

	SrcMACs, DstMACs []MACMask
	VLANs            []Range // the VLAN in which the switch forwards the frame; 0: none
	PCPs             []Range // the frame's priority, in its tag or by the settings of its port

	// EtherTypes are types of packets, behind all tags and SNAP headers. EtherTypeLLC stands for
	// packets with another LLC header.
	EtherTypes []uint16

	// Src and Dst are addresses of IPv4 and IPv6 packets.
	Src, Dst AddressMatch

	// Protos are protocols of IPv4 packets, and of IPv6 packets behind their extension headers.
	Protos []uint8

	// SrcPorts and DstPorts are ports of TCP, UDP and SCTP, one of which Protos have to name. Only
	// the first fragment of a packet has ports.
	SrcPorts, DstPorts PortMatch

	ICMPTypes   []ICMPType // of ICMP in IPv4
	ICMPv6Types []ICMPType // of ICMPv6 in IPv6

	TCPFlags    FlagMatch
	Established bool // TCP segments with ACK or RST: not the first one of a connection

	Fragment FragmentMatch
}

// A FragmentMatch tells fragments of IP packets from whole packets.
type FragmentMatch uint8

// Values of FragmentMatch.
const (
	FragmentAny FragmentMatch = iota // any packet
	FragmentYes                      // fragments, the first one included
	FragmentNo                       // whole packets
)

// EtherTypeLLC is the EtherType by which a rule matches packets without an EtherType.
const EtherTypeLLC = 0

// A MACMask is a MAC address of which only some bits matter. The other bits of MAC are 0.
type MACMask struct{ MAC, Mask MAC }

// A Range is the numbers from First to Last.
type Range struct{ First, Last uint16 }

// An AddressMatch is a list of prefixes and of names of sets.
type AddressMatch struct {
	Prefixes []netip.Prefix
	Sets     []string
}

// A PortMatch is a list of ports and of names of sets.
type PortMatch struct {
	Ranges []Range
	Sets   []string
}

// An ICMPType is a type of message, and a code or AnyCode.
type ICMPType struct {
	Type uint8
	Code int16
}

// AnyCode stands for all codes of an ICMP type.
const AnyCode = -1

// A FlagMatch is the flags that a TCP segment must have, and those that it must not have, at their
// places in the header (FIN is 1).
type FlagMatch struct{ Set, Clear uint8 }

// Flags of TCP segments (RFC 9293, section 3.1), from the lowest bit.
var tcpFlagNames = [8]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

const (
	tcpRST = 0x04
	tcpACK = 0x10
)

// A SetConfig is a named set of addresses and of ports, to which rules refer. The addresses do not
// overlap, nor do the ports.
type SetConfig struct {
	Name      string         `json:"name"` // as a port's
	Addresses []netip.Prefix `json:"addresses"`
	Ports     []Range        `json:"ports"`
}

// A RuleCounters counts the frames that matched a rule, or that no rule has decided about.
type RuleCounters struct {
	Frames atomic.Uint64 // a GSO frame is one frame
	Bytes  atomic.Uint64 // of these frames, with the tags with which they came
}

// A FilterInfo describes a filter.
type FilterInfo struct {
	Config  FilterConfig
	Rules   []*RuleCounters // one for each rule
	Default *RuleCounters
}

func (m *AddressMatch) isSet() bool { return len(m.Prefixes)+len(m.Sets) > 0 }
func (m *PortMatch) isSet() bool    { return len(m.Ranges)+len(m.Sets) > 0 }

// ParseRange parses a number or a range such as 1000-2000, of numbers up to most.
func ParseRange(s string, most uint16) (Range, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b := a
	if err == nil && isRange {
		b, err = strconv.ParseUint(last, 10, 16)
	}
	if err != nil || b > uint64(most) || a > b {
		return Range{}, fmt.Errorf("%q is not a number up to %d or a range such as 1-%d", s, most, most)
	}
	return Range{uint16(a), uint16(b)}, nil
}

// Overlaps reports whether two ranges have a number in common.
func (r Range) Overlaps(o Range) bool { return r.First <= o.Last && o.First <= r.Last }

func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParseMACMask parses an address, optionally followed by a slash and a mask: 52:54:00:00:00:00/24
// or 01:00:00:00:00:00/01:00:00:00:00:00.
func ParseMACMask(s string) (m MACMask, err error) {
	text, mask, masked := strings.Cut(s, "/")
	if m.MAC, err = ParseMAC(text); err != nil {
		return m, fmt.Errorf("%q is not a MAC address, optionally with a mask", s)
	}
	m.Mask = addrBroadcast.mac()
	if !masked {
		return m, nil
	}
	if n, err := strconv.ParseUint(mask, 10, 8); err == nil && n <= 48 {
		m.Mask = (addrBroadcast &^ (addrBroadcast >> n)).mac()
	} else if m.Mask, err = ParseMAC(mask); err != nil {
		return m, fmt.Errorf("the mask in %q is neither a MAC address nor a number of bits", s)
	}
	if m.MAC.addr()&^m.Mask.addr() != 0 {
		return m, fmt.Errorf("%q has bits that are not in its mask", s)
	}
	return m, nil
}

func (m MACMask) String() string {
	if m.Mask.addr() == addrBroadcast {
		return m.MAC.String()
	}
	return m.MAC.String() + "/" + m.Mask.String()
}

// ParseICMPType parses a type, optionally followed by a slash and a code, such as 3/4.
func ParseICMPType(s string) (ICMPType, error) {
	typ, code, hasCode := strings.Cut(s, "/")
	t, err := strconv.ParseUint(typ, 10, 8)
	c := int64(AnyCode)
	if err == nil && hasCode {
		var n uint64
		n, err = strconv.ParseUint(code, 10, 8)
		c = int64(n)
	}
	if err != nil {
		return ICMPType{}, fmt.Errorf("%q is not a type such as 8, or a type and a code such as 3/4", s)
	}
	return ICMPType{uint8(t), int16(c)}, nil
}

func (t ICMPType) String() string {
	if t.Code == AnyCode {
		return strconv.Itoa(int(t.Type))
	}
	return fmt.Sprintf("%d/%d", t.Type, t.Code)
}

// ParseTCPFlags parses flags by their names; with "!" before its name, a flag must not be set.
func ParseTCPFlags(words []string) (m FlagMatch, err error) {
	for _, w := range words {
		name, clear := strings.CutPrefix(w, "!")
		i := slices.Index(tcpFlagNames[:], name)
		if i < 0 {
			return FlagMatch{}, fmt.Errorf("%q is not one of %s, optionally with ! before it", w, strings.Join(tcpFlagNames[:], ", "))
		}
		if clear {
			m.Clear |= 1 << i
		} else {
			m.Set |= 1 << i
		}
	}
	return m, nil
}

// Words is the inverse of ParseTCPFlags.
func (m FlagMatch) Words() (words []string) {
	for i, name := range tcpFlagNames {
		if m.Set>>i&1 != 0 {
			words = append(words, name)
		}
		if m.Clear>>i&1 != 0 {
			words = append(words, "!"+name)
		}
	}
	return words
}

// clone returns a copy that shares no memory with c.
func (c SetConfig) clone() SetConfig {
	c.Addresses, c.Ports = slices.Clone(c.Addresses), slices.Clone(c.Ports)
	return c
}

// clone returns a copy that shares no memory with c.
func (c FilterConfig) clone() FilterConfig {
	c.Rules = slices.Clone(c.Rules)
	for i := range c.Rules {
		r := &c.Rules[i]
		r.SrcMACs, r.DstMACs = slices.Clone(r.SrcMACs), slices.Clone(r.DstMACs)
		r.VLANs, r.PCPs = slices.Clone(r.VLANs), slices.Clone(r.PCPs)
		r.EtherTypes, r.Protos = slices.Clone(r.EtherTypes), slices.Clone(r.Protos)
		for _, m := range []*AddressMatch{&r.Src, &r.Dst} {
			m.Prefixes, m.Sets = slices.Clone(m.Prefixes), slices.Clone(m.Sets)
		}
		for _, m := range []*PortMatch{&r.SrcPorts, &r.DstPorts} {
			m.Ranges, m.Sets = slices.Clone(m.Ranges), slices.Clone(m.Sets)
		}
		r.ICMPTypes, r.ICMPv6Types = slices.Clone(r.ICMPTypes), slices.Clone(r.ICMPv6Types)
	}
	return c
}

// anyPort is all ports.
var anyPort = Range{0, math.MaxUint16}
