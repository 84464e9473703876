package vswitch

import "encoding/binary"

// IPv6 for guards; see guard_packet.go for the rules.

// Protocols and extension headers (IANA, IPv6 Extension Header Types), which the walk has to know.
const (
	extHopByHop     = 0
	extRouting      = 43
	extFragment     = 44
	extAuth         = 51
	extDestination  = 60
	extMobility     = 135
	extHIP          = 139
	extShim6        = 140
	extExperiment1  = 253
	extExperiment2  = 254
	firstUnassigned = 148 // to 252: may be an extension header that is not defined yet
)

// Types of ICMPv6 messages.
const (
	mldReport       = 131 // RFC 2710
	routerSolicit   = 133 // RFC 4861
	routerAdvert    = 134
	neighborSolicit = 135
	neighborAdvert  = 136
	redirect        = 137
	mldReport2      = 143 // RFC 3810
)

// An ipv6Packet is an IPv6 packet of which the chain of headers was walked.
type ipv6Packet struct {
	head     []byte // up to the end of the packet or of the head of the frame
	end      int    // where the packet ends, as an offset in the frame
	src      ipv6
	proto    uint8 // the upper layer's; of a later fragment, that of the first header behind
	upper    int   // where the upper layer, or the content of a later fragment, begins
	sum      int   // Frame.checksumAt, which parseIPv6 leaves to the caller
	fragment bool  // there is a fragment header
	later    bool  // it is not the first fragment: there is no upper-layer header
	whole    bool  // the chain was walked to its end: proto and upper are valid unless later
}

// parseIPv6 walks the headers of the packet at an offset of a frame of the given length, which
// begins with h. ok is false if there is not even a whole IPv6 header.
func parseIPv6(h []byte, length, at int) (p ipv6Packet, ok bool) {
	if at+ipv6Len > len(h) || h[at]>>4 != 6 {
		return p, false
	}
	p.end = at + ipv6Len + int(binary.BigEndian.Uint16(h[at+4:]))
	if p.end == at+ipv6Len || p.end > length {
		p.end = length
	}
	p.head = h[:min(p.end, len(h))]
	p.src = ipv6At(h[at+8:])
	p.walk(h[at+6], at+ipv6Len)
	return p, true
}

// isExtension reports whether a header of this type is an extension header, which another header
// follows.
func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuth, extDestination, extMobility, extHIP, extShim6, extExperiment1, extExperiment2:
		return true
	}
	return false
}

// walk follows the chain of headers that begins with one of type next at an offset (RFC 8200,
// section 4). Each step goes at least 8 bytes forward.
func (p *ipv6Packet) walk(next uint8, at int) {
	for {
		var unit, extra int // the length is unit * (its field + extra)
		switch {
		case next == extAuth:
			unit, extra = 4, 2 // RFC 4302, section 2.2
		case next == extFragment:
		case isExtension(next):
			unit, extra = 8, 1
		default: // ESP as well, behind which nothing can be read
			p.proto, p.upper, p.whole = next, at, true
			return
		}
		if at+8 > len(p.head) {
			return
		}
		if next == extFragment {
			p.fragment = true
			if binary.BigEndian.Uint16(p.head[at+2:])&0xfff8 != 0 {
				p.proto, p.upper, p.later, p.whole = p.head[at], at+8, true, true
				return
			}
		}
		length := unit * (int(p.head[at+1]) + extra)
		next = p.head[at]
		at += max(length, 8)
	}
}

// allowsIPv6 judges an IPv6 packet.
func (g *guard) allowsIPv6(f *Frame, at int) (DropReason, bool) {
	p, ok := parseIPv6(f.Head, f.Len, at)
	if !ok {
		return DropGuardUnreadable, false
	}
	p.sum = f.checksumAt()
	if g.ips != nil && !g.allowsSource(&p) {
		return DropIPSpoofed, false
	}
	switch {
	case !p.whole || p.sum < p.upper:
		return DropGuardUnreadable, false
	case p.later: // useless without the first fragment
		return 0, true
	case p.proto == protoICMPv6:
		return g.allowsICMPv6(&p)
	case p.proto == protoUDP && g.dhcp:
		const server, client = 547, 546 // RFC 8415, section 7.2
		if p.upper+4 > min(len(p.head), p.sum) {
			return DropGuardUnreadable, false
		}
		return DropDHCPGuard, !fromServer(p.head[p.upper:], server, client)
	case g.ra && p.proto >= firstUnassigned:
		return DropRAGuard, false // RFC 7113, section 3: cannot be followed
	}
	return 0, true
}

// allowsICMPv6 judges an ICMPv6 message, or the first fragment of one.
func (g *guard) allowsICMPv6(p *ipv6Packet) (DropReason, bool) {
	if p.upper >= len(p.head) || p.sum != noChecksum && p.sum != p.upper+icmpv6Csum {
		return DropGuardUnreadable, false
	}
	t := p.head[p.upper]
	switch {
	case g.ra && (t == routerAdvert || t == redirect):
		return DropRAGuard, false
	case g.ips != nil && t >= routerSolicit && t <= redirect:
		return g.allowsND(p, t)
	}
	return 0, true
}

// allowsND judges a message of neighbour discovery (RFC 4861, section 4): the target of an
// advertisement, and the link-layer addresses that receivers learn.
func (g *guard) allowsND(p *ipv6Packet, t uint8) (DropReason, bool) {
	if p.fragment {
		return DropIPSpoofed, false // RFC 6980: no node sends such a message
	}
	lengths := [...]int{8, 16, 24, 24, 40} // of the messages without options
	at := p.upper + lengths[t-routerSolicit]
	if at > len(p.head) {
		return DropGuardUnreadable, false
	}
	if t == neighborAdvert && !g.allowsIPv6Address(ipv6At(p.head[p.upper+8:])) {
		return DropIPSpoofed, false
	}
	if len(g.macs) == 0 || t == redirect { // the addresses in a redirect are another station's
		return 0, true
	}
	const source, target = 1, 2 // link-layer address options
	for at < p.end {
		if at+8 > len(p.head) || p.head[at+1] == 0 {
			return DropGuardUnreadable, false
		}
		if o := p.head[at]; (o == source || o == target) && !g.macs.has(addrAt(p.head[at+2:])) {
			return DropMACSpoofed, false
		}
		at += 8 * int(p.head[at+1])
	}
	return 0, true
}

// allowsSource reports whether the source address of a packet is allowed.
func (g *guard) allowsSource(p *ipv6Packet) bool {
	if g.allowsIPv6Address(p.src) {
		return true
	}
	// A station without an address may solicit routers, report that it listens to the group of an
	// address (RFC 3590), and ask whether somebody else has the address (RFC 4862, section 5.4).
	if p.src != (ipv6{}) || !p.whole || p.fragment || p.proto != protoICMPv6 || p.upper >= len(p.head) {
		return false
	}
	switch p.head[p.upper] {
	case mldReport, mldReport2, routerSolicit:
		return true
	case neighborSolicit:
		return p.upper+24 <= len(p.head) && g.allowsIPv6Address(ipv6At(p.head[p.upper+8:]))
	}
	return false
}

// allowsIPv6Address reports whether a station may have an address.
func (g *guard) allowsIPv6Address(a ipv6) bool {
	if a.hi>>54 == 0xfe80>>6 && !g.eui64 { // fe80::/10
		return true
	}
	return g.ips.has6(a) || g.eui64 && a.hi == 0xfe80<<48 && g.isEUI64(a.lo)
}

// isEUI64 reports whether an interface identifier is made of an allowed address (RFC 4291, appendix
// A).
func (g *guard) isEUI64(id uint64) bool {
	const universal = 0x02 << 40
	return id>>24&0xffff == 0xfffe && g.macs.has(addr(id>>40<<24|id&0xffffff)^universal)
}
