package vswitch

import "encoding/binary"

// RequestChecksum adds HdrNeedsCsum, which GSO frames from a guest's driver must have, to a GSO
// frame without it, and reports whether that is possible. If not, f is unchanged. The frame's
// checksum fields become sums of pseudo-headers, and Offload locates the innermost checksum field.
//
// It is for sources that receive frames from the host's kernel. The kernel passes on GSO frames
// whose checksums have been verified (large receive offload, GRO that keeps a list of segments),
// and GSO frames that were written to a TAP device without a request for a checksum. Linux does the
// same to such a frame before it segments the frame (tcp4_gso_segment and others).
//
// f.Head has to include the whole TCP or UDP header.
func RequestChecksum(f *Frame) bool {
	o := &f.Offload
	s := search{head: f.Head, len: f.Len}
	var csum int
	var v6 bool
	switch o.GSOType &^ GSOECN {
	case GSOTCPv4:
		s.proto, csum = protoTCP, tcpCsum
	case GSOTCPv6:
		s.proto, csum, v6 = protoTCP, tcpCsum, true
	case GSOUDPL4:
		s.proto, csum = protoUDP, udpCsum
	default:
		return false
	}
	if !s.run() || s.proto == protoTCP && s.found.v6 != v6 {
		return false
	}
	h := &s.found
	if h.l4+csum+2 > len(f.Head) {
		return false
	}
	if s.proto == protoUDP && int(binary.BigEndian.Uint16(f.Head[h.l4+4:])) != f.Len-h.l4 {
		return false
	}
	putPseudoSum(f, h.l3, h.l4, csum, s.proto)
	s.outer.requestChecksums(f)
	o.Flags = HdrNeedsCsum
	o.CsumStart, o.CsumOffset = uint16(h.l4), uint16(csum)
	return true
}

// requestChecksums does for the outer headers what RequestChecksum does for the inner header.
func (o *outerHeaders) requestChecksums(f *Frame) {
	l3 := 0
	for _, h := range o.list[:o.n] {
		at := int(h.at)
		switch h.kind {
		case layerIPv4, layerIPv6:
			l3 = at
		case layerUDP:
			if binary.BigEndian.Uint16(f.Head[at+udpCsum:]) != 0 {
				putPseudoSum(f, l3, at, udpCsum, protoUDP)
			}
		}
	}
}

// putPseudoSum writes the sum of the pseudo-header of a packet into its checksum field, which is
// csum bytes behind the start of its transport header at l4. The packet's IP header is at l3, and
// the packet ends with the frame.
func putPseudoSum(f *Frame, l3, l4, csum int, proto uint8) {
	var c checksum
	ip := f.Head[l3:]
	if ip[0]>>4 == 4 {
		c.add(ip[12:20])
	} else {
		c.add(ip[8:40])
	}
	c.addField(uint16(proto))
	c.addField(uint16(f.Len - l4))
	binary.BigEndian.PutUint16(f.Head[l4+csum:], ^c.field())
}
