package vswitch

import "encoding/binary"

// Parsers for the messages that multicast snooping learns from. They read private memory only: the
// head of a frame, or a copy of an IP packet.

// An mcastFrame is where a multicast frame goes, as far as snooping is concerned.
type mcastFrame struct {
	group  groupAddr
	at     int  // offset of the IP header in Head
	signal bool // the packet may be one that multicastMessage understands
}

const (
	protoIGMP = 2
	protoPIM  = 103
)

// multicastFrame parses the head of a frame whose IP header, if there is one, is at offset at. It
// reports false if the frame is no IP packet to a multicast address, or if Head ends too early.
func multicastFrame(head []byte, at int) (m mcastFrame, ok bool) {
	if at < MinFrameLen || len(head) < at+ipv4Len {
		return m, false
	}
	m.at = at
	ip := head[at:]
	switch binary.BigEndian.Uint16(head[at-2:]) {
	case etherIPv4:
		m.group = group4(ip[16:])
		m.signal = ip[9] == protoIGMP || ip[9] == protoPIM && m.group.isLocal()
		return m, ip[0]>>4 == 4 && m.group.isMulticast()
	case etherIPv6:
		if len(ip) < ipv6Len {
			return m, false
		}
		m.group = group6(ip[24:])
		// MLD messages have a hop-by-hop options header (RFC 3810, section 5).
		m.signal = ip[6] == protoHopByHop && len(ip) > ipv6Len && ip[ipv6Len] == protoICMPv6 ||
			ip[6] == protoPIM && m.group.isLocal()
		return m, ip[0]>>4 == 6 && m.group.isMulticast()
	}
	return m, false
}

// source returns the source address of the IP packet in a frame.
func (m *mcastFrame) source(head []byte) groupAddr {
	if m.group.isV6() {
		return group6(head[m.at+8:])
	}
	return group4(head[m.at+12:])
}

// A messageKind is a kind of message for multicast routers, or from one.
type messageKind uint8

const (
	msgOther     messageKind = iota // nothing to be learned
	msgMalformed                    // breaks a rule of its protocol
	msgQuery                        // IGMP and MLD: membership or multicast listener query
	msgReport                       // IGMPv1, IGMPv2, MLDv1: one group
	msgLeave                        // IGMPv2 leave, MLDv1 done: one group
	msgRecords                      // IGMPv3, MLDv2: records of groups
	msgRouter                       // a router announces itself: PIM hello, MRD advertisement
)

// An mcastMessage is a parsed message.
type mcastMessage struct {
	kind    messageKind
	group   groupAddr // of a query (zero: all groups), report or leave
	source  groupAddr // the address of the sender
	station addr      // its Ethernet address
	respond uint32    // time for answers to a query, in seconds, rounded up
	lower   bool      // a query after which members have to report again
	records records   // of msgRecords; of a query: a record of the sources that it names
}

// multicastMessage parses an IP packet. cut is true if the end of the packet is missing. With
// partial, the checksum of the packet's payload is not complete and is not checked.
func multicastMessage(ip []byte, cut, partial bool) mcastMessage {
	if len(ip) == 0 {
		return mcastMessage{kind: msgMalformed}
	}
	switch ip[0] >> 4 {
	case 4:
		return ipv4Message(ip, cut)
	case 6:
		return ipv6Message(ip, cut, partial)
	}
	return mcastMessage{kind: msgMalformed}
}

// ipv4Message parses an IGMP or PIM packet. RFC 2236; RFC 3376, section 4.
func ipv4Message(ip []byte, cut bool) (m mcastMessage) {
	m.kind = msgMalformed
	if len(ip) < ipv4Len {
		return m
	}
	hl := int(ip[0]&0xf) * 4
	if hl < ipv4Len || len(ip) < hl+4 || sumOf(ip[:hl]) != 0 {
		return m
	}
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // a fragment
		return m
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	switch {
	case total < hl+4, total > len(ip) && !cut:
		return m
	case total <= len(ip):
		ip, cut = ip[:total], false
	}
	dst, msg := group4(ip[16:]), ip[hl:]
	m.source = group4(ip[12:])
	if ip[9] == protoPIM {
		return routerMessage(m, dst == groupAddr{0, mapped | 0xe000000d} && msg[0] == pimHello)
	}
	if len(msg) < 8 {
		// A multicast router advertisement is 8 bytes long, too (RFC 4286, section 3.2).
		return m
	}
	if !cut && sumOf(msg) != 0 {
		return m
	}
	m.group = group4(msg[4:])
	none := uint32(m.group.lo) == 0
	switch msg[0] {
	case 0x11:
		// RFC 3376, section 7.1: the length distinguishes the versions.
		if len(msg) > 8 && len(msg) < 12 || none && dst != (groupAddr{0, mapped | 0xe0000001}) {
			return m
		}
		if none {
			m.group = groupAddr{}
		} else if !m.group.isMulticast() {
			return m
		}
		tenths := uint32(msg[1])
		m.lower = true
		if len(msg) >= 12 {
			if tenths >= 128 {
				tenths = (tenths&0xf | 0x10) << (tenths>>4&7 + 3)
			}
			m.lower = msg[8]&8 == 0
			m.records = queriedSources(msg[10:], false)
		}
		m.respond = (tenths + 9) / 10
		if m.respond == 0 {
			m.respond = defaultResponse
		}
		m.lower = m.lower && !none
		m.kind = msgQuery
	case 0x12, 0x16:
		return oneGroup(m, msgReport)
	case 0x17:
		return oneGroup(m, msgLeave)
	case 0x22:
		m.kind = msgRecords
		m.records = records{b: msg[8:], left: int(binary.BigEndian.Uint16(msg[6:])), cut: cut}
	case 0x30:
		return routerMessage(m, dst == groupAddr{0, mapped | 0xe000006a})
	default:
		m.kind = msgOther
	}
	return m
}

const pimHello = 0x20 // version 2, type 0: RFC 7761, section 4.9

// oneGroup returns m as a message about one group.
func oneGroup(m mcastMessage, kind messageKind) mcastMessage {
	if m.group.isMulticast() {
		m.kind = kind
	}
	return m
}

// routerMessage returns m as an announcement of a router, if it is one.
func routerMessage(m mcastMessage, is bool) mcastMessage {
	m.kind = msgOther
	if is {
		m.kind = msgRouter
	}
	return m
}

// ipv6Message parses an MLD or PIM packet. RFC 2710, RFC 3810.
func ipv6Message(ip []byte, cut, partial bool) (m mcastMessage) {
	m.kind = msgMalformed
	if len(ip) < ipv6Len+4 {
		return m
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	switch {
	case total > len(ip) && !cut:
		return m
	case total <= len(ip):
		ip, cut = ip[:total], false
	}
	src, dst := group6(ip[8:]), group6(ip[24:])
	m.source = src
	linkLocal := src.hi>>54 == 0xfe80>>6
	if ip[6] == protoPIM {
		if len(ip) < ipv6Len+4 {
			return m
		}
		return routerMessage(m, linkLocal && dst == groupAddr{0xff02 << 48, 0xd} && ip[ipv6Len] == pimHello)
	}
	l4, ok := behindRouterAlert(ip)
	if !ok {
		return m
	}
	msg := ip[l4:]
	switch msg[0] {
	case 130, 131, 132, 143, 151:
	default:
		m.kind = msgOther
		return m
	}
	// RFC 3810, section 5: hop limit 1 and a link-local source. A host that has no address yet
	// reports from the unspecified one (RFC 3590).
	if ip[7] != 1 || !linkLocal && (src != groupAddr{} || msg[0] == 130 || msg[0] == 151) {
		return m
	}
	if !cut && !partial && icmpv6Sum(ip, msg) != 0 {
		return m
	}
	if msg[0] == 151 {
		return routerMessage(m, dst == groupAddr{0xff02 << 48, 0x6a})
	}
	if msg[0] == 143 {
		m.kind = msgRecords
		m.records = records{b: msg[8:], left: int(binary.BigEndian.Uint16(msg[6:])), v6: true, cut: cut}
		return m
	}
	if len(msg) < 24 {
		return m
	}
	m.group = group6(msg[8:])
	switch msg[0] {
	case 131:
		return oneGroup6(m, msgReport)
	case 132:
		return oneGroup6(m, msgLeave)
	}
	// RFC 3810, section 8.1: the length distinguishes the versions.
	if len(msg) > 24 && len(msg) < 28 || m.group != (groupAddr{}) && !m.group.isV6() {
		return m
	}
	if m.group != (groupAddr{}) && !m.group.isMulticast() {
		return m
	}
	ms := uint32(binary.BigEndian.Uint16(msg[4:]))
	m.lower = m.group != groupAddr{}
	if len(msg) >= 28 {
		if ms >= 32768 {
			ms = (ms&0xfff | 0x1000) << (ms>>12&7 + 3)
		}
		m.lower = m.lower && msg[24]&8 == 0
		m.records = queriedSources(msg[26:], true)
	}
	m.respond = max((ms+999)/1000, 1)
	m.kind = msgQuery
	return m
}

func oneGroup6(m mcastMessage, kind messageKind) mcastMessage {
	if !m.group.isV6() {
		return m
	}
	return oneGroup(m, kind)
}

// behindRouterAlert returns the offset of the ICMPv6 message in an IPv6 packet whose first
// extension header is a hop-by-hop options header, and reports whether that header has the router
// alert option for MLD (RFC 2711) and at least 8 bytes follow.
func behindRouterAlert(ip []byte) (l4 int, ok bool) {
	if ip[6] != protoHopByHop || len(ip) < ipv6Len+8 || ip[ipv6Len] != protoICMPv6 {
		return 0, false
	}
	l4 = ipv6Len + 8 + int(ip[ipv6Len+1])*8
	if len(ip) < l4+8 {
		return 0, false
	}
	const padOne, routerAlert = 0, 5
	options := ip[ipv6Len+2 : l4]
	for len(options) > 0 {
		if options[0] == padOne {
			options = options[1:]
			continue
		}
		if len(options) < 2 || len(options) < 2+int(options[1]) {
			return 0, false
		}
		if options[0] == routerAlert && options[1] == 2 && binary.BigEndian.Uint16(options[2:]) == 0 {
			return l4, true
		}
		options = options[2+int(options[1]):]
	}
	return 0, false
}

// sumOf returns the Internet checksum of b, which is 0 if b contains its checksum.
func sumOf(b []byte) uint16 {
	var c checksum
	c.add(b)
	return c.field()
}

// icmpv6Sum is sumOf for an ICMPv6 message in an IPv6 packet, with the pseudo-header.
func icmpv6Sum(ip, msg []byte) uint16 {
	var c checksum
	c.add(ip[8:40])
	c.addField(uint16(len(msg)))
	c.addField(protoICMPv6)
	c.add(msg)
	return c.field()
}

// Types of records: RFC 3376, section 4.2.12; RFC 3810, section 5.2.12.
const (
	recordIsInclude = 1 + iota
	recordIsExclude
	recordToInclude
	recordToExclude
	recordAllow
	recordBlock
)

// records are the records of a report that have not been read yet.
type records struct {
	b    []byte
	left int
	v6   bool
	cut  bool // the end of the report is missing

	// The record that next has read.
	kind    uint8
	sources int
	group   groupAddr
	list    []byte // of the sources
}

// queriedSources reads the number of sources of a query, and the sources. Those that are missing
// are left out.
func queriedSources(b []byte, v6 bool) records {
	r := records{v6: v6, list: b[2:], sources: int(binary.BigEndian.Uint16(b))}
	r.sources = min(r.sources, len(r.list)/r.addressLen())
	return r
}

// next reads a record, and reports whether there was a complete one.
func (r *records) next() bool {
	alen := r.addressLen()
	hl := 4 + alen
	if r.left == 0 || len(r.b) < hl {
		return false
	}
	r.kind, r.sources = r.b[0], int(binary.BigEndian.Uint16(r.b[2:]))
	n := hl + r.sources*alen + int(r.b[1])*4
	if len(r.b) < n {
		return false
	}
	if r.v6 {
		r.group = group6(r.b[4:])
	} else {
		r.group = group4(r.b[4:])
	}
	r.list = r.b[hl : hl+r.sources*alen]
	r.b = r.b[n:]
	r.left--
	return true
}

func (r *records) addressLen() int {
	if r.v6 {
		return 16
	}
	return 4
}

// source returns the i-th source of the record that next has read.
func (r *records) source(i int) groupAddr {
	if r.v6 {
		return group6(r.list[16*i:])
	}
	return group4(r.list[4*i:])
}

// has reports whether a source is in the record.
func (r *records) has(a groupAddr) bool {
	for i := range r.sources {
		if r.source(i) == a {
			return true
		}
	}
	return false
}

// valid reports whether the record that next has read is about a multicast group of its IP version.
func (r *records) valid() bool { return r.group.isMulticast() && r.group.isV6() == r.v6 }
