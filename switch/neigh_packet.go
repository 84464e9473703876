package vswitch

import "encoding/binary"

// The messages that the neighbor table is about. Everything here reads Head alone, and never past
// its end. Messages that are malformed, or not whole in Head, teach nothing and are not answered.
// They are counted (NeighMalformed), and forwarded as any other frame.

// A readability is whether a packet is a message that the table is about.
type readability uint8

const (
	notNeigh   readability = iota // the packet is something else
	neighBad                      // the message is malformed, or not whole in Head
	neighWhole                    // the message has been read
)

const (
	arpLen         = 28
	arpRequest     = 1
	arpReply       = 2
	ndHopLimit     = 255 // RFC 4861, section 7.1: routers do not forward such messages
	ndSourceOption = 1
	ndTargetOption = 2
)

// An arpPacket is an ARP packet for IPv4 over Ethernet (RFC 826).
type arpPacket struct {
	op             uint16
	sender, target uint32
	mac            addr // of the sender
}

// parseARP parses the ARP packet at an offset of a frame.
func parseARP(f *Frame, at int) (a arpPacket, r readability) {
	const ethernetIPv4, lengths = 0x00010800, 0x0604
	if len(f.Head) < at+arpLen || f.checksumAt() != noChecksum {
		return a, neighBad
	}
	p := f.Head[at:]
	if binary.BigEndian.Uint32(p) != ethernetIPv4 || binary.BigEndian.Uint16(p[4:]) != lengths {
		return a, neighBad
	}
	a = arpPacket{
		op: binary.BigEndian.Uint16(p[6:]), mac: addrAt(p[8:]),
		sender: binary.BigEndian.Uint32(p[14:]), target: binary.BigEndian.Uint32(p[24:]),
	}
	switch {
	case a.op != arpRequest && a.op != arpReply:
		return a, notNeigh
	case !a.mac.mac().IsUnicast():
		return a, neighBad
	}
	return a, neighWhole
}

// claim returns what the packet says about its sender. A probe (RFC 5227) says nothing: it has no
// sender's address.
func (a *arpPacket) claim() claim {
	c := claim{ip: mapped4(a.sender), mac: a.mac}
	if !c.ip.isStation() {
		return claim{}
	}
	return c
}

// An ndMessage is a message of neighbor discovery (RFC 4861, section 4).
type ndMessage struct {
	kind   uint8
	flags  uint8 // of an advertisement
	src    ipv6
	target ipv6 // of a solicitation or advertisement
	link   addr // source or target link-layer address; 0: there is none
}

// Flags of neighbor advertisements.
const (
	ndRouter    = 0x80
	ndSolicited = 0x40
	ndOverride  = 0x20
)

// parseND parses the message of neighbor discovery in the IPv6 packet at an offset of a frame.
func parseND(f *Frame, at int) (m ndMessage, r readability) {
	const upper = ipv6Len // no node sends extension headers in front of such a message
	if at+upper >= len(f.Head) || f.Head[at+6] != protoICMPv6 {
		return m, notNeigh
	}
	switch f.Head[at+upper] {
	case routerAdvert, neighborSolicit, neighborAdvert:
	default:
		return m, notNeigh
	}
	p, ok := parseIPv6(f.Head, f.Len, at)
	if !ok || f.Head[at+7] != ndHopLimit || f.checksumAt() != noChecksum || len(p.head) != p.end || p.end < p.upper+8 {
		return m, neighBad
	}
	msg := p.head[p.upper:]
	m = ndMessage{kind: msg[0], src: p.src}
	var fields int // length without options
	want := uint8(ndSourceOption)
	switch m.kind {
	case routerAdvert:
		fields = 16
	case neighborSolicit:
		fields = 24
	case neighborAdvert:
		fields, want, m.flags = 24, ndTargetOption, msg[4]
	}
	if len(msg) < fields || msg[1] != 0 || icmpv6Checksum(p.head[at:], msg) != 0 {
		return m, neighBad
	}
	if fields == 24 {
		m.target = ipv6At(msg[8:])
		if !m.target.isStation() || m.target.is4() {
			return m, neighBad
		}
	}
	if m.link, ok = linkOption(msg[fields:], want); !ok {
		return m, neighBad
	}
	return m, neighWhole
}

// linkOption returns the address in an option of a type, or 0 if there is no such option. ok is
// false if the options are malformed.
func linkOption(options []byte, want uint8) (link addr, ok bool) {
	for len(options) > 0 {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return 0, false
		}
		if options[0] == want && options[1] == 1 {
			link = addrAt(options[2:])
		}
		options = options[int(options[1])*8:]
	}
	return link, link == 0 || link.mac().IsUnicast()
}

// claim returns what the message says about a station.
func (m *ndMessage) claim() claim {
	c := claim{ip: m.src, mac: m.link}
	switch m.kind {
	case neighborAdvert:
		c.ip, c.routerIs, c.router = m.target, true, m.flags&ndRouter != 0
		c.weak = m.flags&ndOverride == 0
	case routerAdvert:
		c.routerIs, c.router = true, true
	}
	if !c.ip.isStation() || c.ip.is4() {
		return claim{}
	}
	return c
}

// icmpv6Checksum returns the checksum of a message in the IPv6 packet that begins with ip, as it is
// to be stored; 0 if the message has the right one already (RFC 4443, section 2.3).
func icmpv6Checksum(ip, msg []byte) uint16 {
	var c checksum
	c.add(ip[8:ipv6Len])
	c.addField(uint16(len(msg)))
	c.addField(protoICMPv6)
	c.add(msg)
	return c.field()
}
