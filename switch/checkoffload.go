package vswitch

import "encoding/binary"

// The check of a frame's offload request.
//
// The virtio-net header comes from a guest, and so does the frame that it describes. A request that
// passes the check is carried out to the letter later: by this package, by another guest's network
// stack, or by the host's kernel. So the request has to agree with the frame in everything that
// these rely on. Two rules make that possible. The check reads only Frame.Head and Frame.Offload,
// which nothing outside of the switch can change afterwards; and all later readers find the same
// headers in Head, since a repair writes a checksum only behind all headers that the switch's
// policies read.

// EtherTypes that the check distinguishes.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherTag  = 0x8100 // IEEE 802.1Q
	etherRARP = 0x8035
	etherSTag = 0x88a8 // IEEE 802.1ad
	etherIPv6 = 0x86dd
)

// IP protocol numbers that the check distinguishes.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60
	protoSCTP     = 132
)

// Lengths of headers without their options, and offsets of the checksum in transport headers, in
// bytes.
const (
	etherLen    = 14
	tagLen      = 4
	ipv4Len     = 20
	ipv6Len     = 40
	fragmentLen = 8
	tcpLen      = 20
	udpLen      = 8
	sctpLen     = 12

	tcpCsum    = 16
	udpCsum    = 6
	icmpv6Csum = 2
	sctpCsum   = 8
)

// maxSegments is the most segments of a GSO frame. It bounds the time that one frame can cost a
// worker. Linux sends no TCP segments of less than 48 bytes with their options (sysctl
// net.ipv4.tcp_min_snd_mss): with timestamps, 64 KiB become 1821 segments.
const maxSegments = 2048

// checkOffload reports whether the request in f.Offload agrees with f.Head. If not, the frame is to
// be dropped with DropBadOffload. It normalises the request: unknown flags and fields without a
// meaning are cleared, HdrLen becomes the true length of a GSO frame's headers (the driver's value
// is a hint, on which "the device MUST NOT rely", virtio 1.2, section 5.1.6.2.2), and a frame that
// fits into one segment becomes a frame without GSO. An SCTP packet's checksum is filled in at
// once, see completeSCTP.
//
// It is called once for each frame, before any decision.
func checkOffload(f *Frame) bool {
	o := &f.Offload
	// "The device MUST ignore flag bits that it does not recognize" (virtio 1.2, section
	// 5.1.6.2.2).
	o.Flags &= HdrNeedsCsum | HdrDataValid
	if o.Flags&HdrNeedsCsum == 0 {
		if o.GSOType != GSONone {
			// "If one of the VIRTIO_NET_F_HOST_TSO4, TSO6, USO or UFO options have been negotiated:
			// ... the driver MUST also set VIRTIO_NET_HDR_F_NEEDS_CSUM".
			return false
		}
		*o = Offload{Flags: o.Flags}
		return true
	}
	o.Flags = HdrNeedsCsum
	if o.GSOType == GSONone {
		o.HdrLen, o.GSOSize = 0, 0
		return checkCsum(f)
	}
	return checkGSO(f)
}

// checkCsum checks a request to fill in a checksum. If the switch knows the protocol, the request
// has to name the place of the protocol's checksum. Otherwise, inside a tunnel for instance, any
// place behind the network header is accepted: Linux requests the inner checksum of a tunnel this
// way.
func checkCsum(f *Frame) bool {
	start := int(f.Offload.CsumStart)
	offset := int(f.Offload.CsumOffset)
	if start+offset+2 > len(f.Head) {
		return false
	}
	if offset == sctpCsum && asksForCRC(f) {
		return completeSCTP(f)
	}
	l3, ethertype := network(f.Head)
	switch ethertype {
	case etherIPv4, etherIPv6:
		h, ok := parseHeadersAt(f.Head, l3, ethertype)
		if !ok || h.fragment || start < h.l4 {
			return false
		}
		switch h.proto {
		case protoTCP:
			return start > h.l4 || offset == tcpCsum
		case protoUDP:
			return start > h.l4 || offset == udpCsum
		case protoICMPv6:
			// At any other place, the checksum would change a Neighbor Discovery message after a
			// policy has read the message.
			return start == h.l4 && offset == icmpv6Csum
		case protoSCTP:
			return start > h.l4
		}
		return true
	case etherARP, etherRARP:
		return false
	}
	return start >= l3
}

// checkGSO checks a request to segment a frame.
func checkGSO(f *Frame) bool {
	o := &f.Offload
	if o.GSOSize == 0 {
		return false
	}
	g, ok := parseGSO(f)
	if !ok {
		return false
	}
	if l3, _ := network(f.Head); l3 > etherLen+(MaxTags-1)*tagLen {
		return false // there may be another tag in time
	}
	payload := f.Len - g.payload
	if payload <= int(o.GSOSize) && !g.encap {
		// As in Linux, a packet that is not longer than a segment is not a GSO packet.
		o.GSOType, o.GSOSize, o.HdrLen = GSONone, 0, 0
		return true
	}
	o.HdrLen = uint16(g.end)
	return (payload-1)/g.size < maxSegments && g.end <= HeadMax
}

// network returns the offset of the network header, behind at most MaxTags tags, and its EtherType.
func network(head []byte) (l3 int, ethertype uint16) {
	l3 = etherLen
	for tags := 0; l3 <= len(head); tags++ {
		ethertype = binary.BigEndian.Uint16(head[l3-2:])
		if ethertype != etherTag && ethertype != etherSTag || tags == MaxTags {
			return l3, ethertype
		}
		l3 += tagLen
	}
	return l3, 0
}

// headers are the offsets of an IP packet's headers, in bytes from the start of the frame.
type headers struct {
	v6       bool
	fragment bool  // the packet is a fragment
	proto    uint8 // protocol of the header at l4
	l3       int   // the IP header
	l4       int   // the header that follows the IP header and the IPv6 extension headers
	unfrag   int   // end of the headers that each fragment repeats
	next     int   // the field with the protocol of the header at unfrag
}

// parseHeaders finds an IP packet's headers in a frame's head. It fails if the packet is not IP, or
// if its headers contradict each other or do not end within the head.
func parseHeaders(head []byte) (h headers, ok bool) {
	l3, ethertype := network(head)
	return parseHeadersAt(head, l3, ethertype)
}

// parseHeadersAt is parseHeaders for a packet whose IP header begins at l3.
func parseHeadersAt(head []byte, l3 int, ethertype uint16) (h headers, ok bool) {
	h.l3 = l3
	switch ethertype {
	case etherIPv4:
		ok = h.parseIPv4(head)
	case etherIPv6:
		ok = h.parseIPv6(head)
	}
	return h, ok
}

func (h *headers) parseIPv4(head []byte) bool {
	if h.l3+ipv4Len > len(head) || head[h.l3]>>4 != 4 {
		return false
	}
	ihl := int(head[h.l3]&0xf) * 4
	h.l4 = h.l3 + ihl
	h.unfrag = h.l4
	h.next = h.l3 + 9
	h.proto = head[h.next]
	const moreFragmentsAndOffset = 0x3fff
	h.fragment = binary.BigEndian.Uint16(head[h.l3+6:])&moreFragmentsAndOffset != 0
	return ihl >= ipv4Len && h.l4 <= len(head)
}

// parseIPv6 walks the extension headers that have the common form of RFC 8200, section 4: next
// header, length in units of 8 bytes without the first 8. Each step advances by at least 8 bytes,
// so the head's length bounds the walk.
func (h *headers) parseIPv6(head []byte) bool {
	if h.l3+ipv6Len > len(head) || head[h.l3]>>4 != 6 {
		return false
	}
	h.v6 = true
	h.next = h.l3 + 6
	h.l4 = h.l3 + ipv6Len
	h.unfrag = h.l4
	next := h.next
	routed, closed := false, false
	for {
		h.proto = head[next]
		switch h.proto {
		case protoRouting:
			routed = true
		case protoDestOpts:
			// Behind a routing header, destination options are for the final destination and belong
			// to the part that is fragmented (RFC 8200, section 4.5).
			closed = closed || routed
		case protoHopByHop:
		case protoFragment:
			h.fragment = true
			return true
		default:
			return true
		}
		next = h.l4
		if h.l4+8 > len(head) {
			return false
		}
		h.l4 += 8 + 8*int(head[next+1])
		if h.l4 > len(head) {
			return false
		}
		if !closed {
			h.next, h.unfrag = next, h.l4
		}
	}
}

// gso is the layout of a GSO frame, which is needed to segment the frame.
type gso struct {
	headers // the innermost ones
	outer   outerHeaders
	encap   bool // the segmented packet is inside an encapsulation
	end     int  // start of the payload of TCP or UDP
	payload int  // start of the part that is divided among segments: end, or unfrag for UFO
	size    int  // bytes of that part in each segment
	l3Max   int  // length of the longest segment without Ethernet header and tags
}

// parseGSO finds the headers of a GSO frame. It fails if the frame's Offload does not agree with
// them.
func parseGSO(f *Frame) (g gso, ok bool) {
	o := &f.Offload
	if o.Flags&HdrNeedsCsum == 0 {
		return g, false
	}
	l3, ethertype := network(f.Head)
	g.headers, ok = parseHeadersAt(f.Head, l3, ethertype)
	if !ok || int(o.CsumStart) != g.l4 {
		ok = g.findInner(f)
	}
	if !ok || g.fragment {
		return g, false
	}
	switch o.GSOType {
	case GSOTCPv4, GSOTCPv4 | GSOECN:
		ok = !g.v6 && g.parseTCP(f)
	case GSOTCPv6, GSOTCPv6 | GSOECN:
		ok = g.v6 && g.parseTCP(f)
	case GSOUDPL4:
		ok = g.parseUDP(f)
	case GSOUDP:
		return g, g.parseUDP(f) && g.fragments(o)
	default:
		return g, false
	}
	g.payload = g.end
	g.size = int(o.GSOSize)
	g.l3Max = g.end - l3 + min(g.size, f.Len-g.end)
	return g, ok && g.size > 0
}

// findInner finds the headers of the segmented packet behind those of encapsulations.
func (g *gso) findInner(f *Frame) bool {
	s := search{head: f.Head, len: f.Len, l4: int(f.Offload.CsumStart)}
	switch f.Offload.GSOType {
	case GSOTCPv4, GSOTCPv4 | GSOECN, GSOTCPv6, GSOTCPv6 | GSOECN:
		s.proto = protoTCP
	case GSOUDPL4:
		s.proto = protoUDP
	default:
		return false
	}
	if s.l4 == 0 || !s.run() {
		return false
	}
	g.headers, g.outer, g.encap = s.found, s.outer, true
	return true
}

func (g *gso) parseTCP(f *Frame) bool {
	if g.proto != protoTCP || f.Offload.CsumOffset != tcpCsum || g.l4+tcpLen > len(f.Head) {
		return false
	}
	length := int(f.Head[g.l4+12]>>4) * 4
	g.end = g.l4 + length
	return length >= tcpLen && g.end <= len(f.Head)
}

func (g *gso) parseUDP(f *Frame) bool {
	g.end = g.l4 + udpLen
	return g.proto == protoUDP && f.Offload.CsumOffset == udpCsum && g.end <= len(f.Head)
}

// fragments sets the sizes for UFO. There, GSOSize is the length of the payload of an IP packet,
// which begins with the UDP header (in IPv6, behind the extension headers that are not repeated).
func (g *gso) fragments(o *Offload) bool {
	g.payload = g.unfrag
	g.size = int(o.GSOSize) &^ 7 // RFC 791 and 8200: in units of 8 bytes
	g.l3Max = g.unfrag - g.l3 + g.size
	if g.v6 {
		g.l3Max += fragmentLen
	}
	return g.size > 0 && g.size >= g.end-g.unfrag
}
