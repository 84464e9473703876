package vswitch

import "encoding/binary"

// GSO inside encapsulations: TCP or UDP in VXLAN, Geneve, GRE, IP in IP, MPLS and combinations of
// these, in one frame that is to be segmented. No guest's driver may send such a frame, but an
// uplink's kernel delivers such frames: the last device that can do so segments a tunnel's frames
// of the sending host, and GRO merges segments that were received. The request then refers to the
// innermost headers: CsumStart is the offset of the inner TCP or UDP header, and GSOSize the length
// of a segment's payload.
//
// Neither a guest's driver nor a packet socket can accept such frames (struct virtio_net_hdr has no
// fields for the outer headers). So every port gets segments, each with outer headers that are
// right for the segment, as Linux makes them (inet_gso_segment, __skb_udp_tunnel_segment,
// gre_gso_segment).

// EtherTypes and IP protocol numbers of encapsulations.
const (
	etherBridged  = 0x6558 // in GRE: an Ethernet frame (RFC 7637)
	etherMPLS     = 0x8847
	etherMPLSMany = 0x8848

	protoIPv4 = 4  // RFC 2003
	protoIPv6 = 41 // RFC 4213, RFC 2473
	protoGRE  = 47
	protoMPLS = 137 // RFC 4023
)

// GRE's flags (RFC 2784, RFC 2890).
const (
	greCsum     = 0x8000
	greKey      = 0x2000
	greLen      = 4
	greFieldLen = 4 // of the checksum with its reserved bytes, and of the key
)

const (
	// maxLayers is the most headers with a length or a checksum before the inner IP header: two
	// times IP and UDP, and one time IP and GRE.
	maxLayers = 6

	// maxLayerSteps is the most IP headers that a search reads. Only a frame made as an attack
	// contains more bytes that look like IP headers.
	maxLayerSteps = 16
)

// An outerHeader is a header that is different for each segment.
type outerHeader struct {
	kind layerKind
	at   uint16 // from the start of the frame
}

type layerKind uint8

const (
	layerIPv4 layerKind = iota // length, identification, checksum
	layerIPv6                  // length
	layerUDP                   // length, and a checksum if that is not 0
	layerGRE                   // a checksum
)

// outerHeaders are a frame's outer headers, from the outside in. A frame that is not encapsulated
// has none.
type outerHeaders struct {
	n    uint8
	list [maxLayers]outerHeader
}

func (o *outerHeaders) push(kind layerKind, at int) bool {
	if o.n == maxLayers {
		return false
	}
	o.list[o.n] = outerHeader{kind, uint16(at)}
	o.n++
	return true
}

// A search searches a frame for a TCP, UDP or SCTP header, through all encapsulations.
type search struct {
	head  []byte
	len   int   // length of the whole frame
	proto uint8 // the protocol that is searched for
	l4    int   // the offset that its header must have; 0: the first one counts

	steps int
	outer outerHeaders
	found headers
}

// run searches from the frame's network header on, and reports whether the header was found.
func (s *search) run() bool {
	l3, ethertype := network(s.head)
	return s.layer3(l3, ethertype)
}

func (s *search) layer3(at int, ethertype uint16) bool {
	switch ethertype {
	case etherIPv4, etherIPv6:
		return s.ip(at, ethertype)
	case etherMPLS, etherMPLSMany:
		return s.mpls(at)
	case etherBridged:
		if at+etherLen > len(s.head) {
			return false
		}
		l3, inner := network(s.head[at:])
		return s.layer3(at+l3, inner)
	}
	return false
}

// ip searches from an IP header on. Fragments are not searched.
func (s *search) ip(at int, ethertype uint16) bool {
	if s.steps++; s.steps > maxLayerSteps {
		return false
	}
	h, ok := parseHeadersAt(s.head, at, ethertype)
	if !ok || h.fragment {
		return false
	}
	if h.proto == s.proto && (h.l4 == s.l4 || s.l4 == 0) {
		s.found = h
		return true
	}
	kind := layerIPv4
	if h.v6 {
		kind = layerIPv6
	}
	if s.l4 != 0 && h.l4 >= s.l4 || !s.outer.push(kind, at) {
		return false
	}
	switch h.proto {
	case protoIPv4:
		return s.ip(h.l4, etherIPv4)
	case protoIPv6:
		return s.ip(h.l4, etherIPv6)
	case protoMPLS:
		return s.mpls(h.l4)
	case protoGRE:
		return s.gre(h.l4)
	case protoUDP:
		return s.udp(h.l4)
	}
	return false
}

// mpls searches behind a stack of labels (RFC 3032) for IP. The stack does not say which protocol
// follows the last label; as usual, the version field of IP decides.
func (s *search) mpls(at int) bool {
	for ; at+4 < len(s.head); at += 4 {
		const bottom = 1
		if s.head[at+2]&bottom == 0 {
			continue
		}
		switch s.head[at+4] >> 4 {
		case 4:
			return s.ip(at+4, etherIPv4)
		case 6:
			return s.ip(at+4, etherIPv6)
		}
		return false
	}
	return false
}

// gre searches behind a GRE header. Headers with a sequence number are not accepted, since the
// numbers of the segments would be unknown: Linux neither sends nor merges such frames as GSO
// frames.
func (s *search) gre(at int) bool {
	if at+greLen > len(s.head) {
		return false
	}
	flags := binary.BigEndian.Uint16(s.head[at:])
	if flags&^(greCsum|greKey) != 0 {
		return false
	}
	behind := at + greLen
	if flags&greCsum != 0 {
		behind += greFieldLen
		if !s.outer.push(layerGRE, at) {
			return false
		}
	}
	if flags&greKey != 0 {
		behind += greFieldLen
	}
	return behind <= len(s.head) && s.layer3(behind, binary.BigEndian.Uint16(s.head[at+2:]))
}

// udp searches behind a UDP header. The protocol there depends on a port number that can be
// configured freely (VXLAN, Geneve, GUE, plain IP or MPLS), and its header has no field that
// depends on the length. So udp searches for the next IP header, which has to agree with the frame
// in its length and in all headers that follow.
func (s *search) udp(at int) bool {
	if !s.outer.push(layerUDP, at) {
		return false
	}
	outer := s.outer
	for at += udpLen; at+ipv4Len <= len(s.head); at += 2 {
		ethertype := s.plausibleIP(at)
		if ethertype == 0 {
			continue
		}
		s.outer = outer
		if s.ip(at, ethertype) {
			return true
		}
	}
	return false
}

// plausibleIP returns the EtherType of the IP packet that begins at an offset and ends with the
// frame, or 0 if there is no such packet.
func (s *search) plausibleIP(at int) uint16 {
	ip := s.head[at:]
	switch ip[0] >> 4 {
	case 4:
		ihl := int(ip[0]&0xf) * 4
		if int(binary.BigEndian.Uint16(ip[2:])) != s.len-at || ihl < ipv4Len || ihl > len(ip) {
			return 0
		}
		var c checksum
		c.add(ip[:ihl])
		if c.field() != 0 {
			return 0
		}
		return etherIPv4
	case 6:
		if int(binary.BigEndian.Uint16(ip[4:])) != s.len-at-ipv6Len {
			return 0
		}
		return etherIPv6
	}
	return 0
}

// finish fills in the outer headers of s, the n-th segment, whose inner headers are complete. whole
// is the length of the segmented frame, in bytes; payload is the sum of the segment's body.
func (o *outerHeaders) finish(s *Frame, n, whole int, payload checksum) {
	be := binary.BigEndian
	for i := int(o.n) - 1; i >= 0; i-- {
		at := int(o.list[i].at)
		h := s.Head[at:]
		length := uint16(s.Len - at)
		var c checksum
		switch o.list[i].kind {
		case layerIPv4:
			be.PutUint16(h[2:], length)
			be.PutUint16(h[4:], be.Uint16(h[4:])+uint16(n))
			clear(h[10:12])
			c.add(h[:int(h[0]&0xf)*4])
			be.PutUint16(h[10:], c.field())
		case layerIPv6:
			be.PutUint16(h[4:], length-ipv6Len)
		case layerUDP:
			be.PutUint16(h[4:], length)
			if be.Uint16(h[udpCsum:]) == 0 {
				break // no checksum, and none in the segments
			}
			// The field holds the sum of the pseudo-header with the length of the whole frame.
			c.addField(^uint16(whole - at))
			c.addField(length)
			c.add(h)
			c.join(payload)
			be.PutUint16(h[udpCsum:], c.fieldOrOnes())
		case layerGRE:
			clear(h[greLen : greLen+greFieldLen])
			c.add(h)
			c.join(payload)
			be.PutUint16(h[greLen:], c.field())
		}
	}
}
