package vswitch

import (
	"encoding/binary"
	"math/rand/v2"
)

// UFO in software: a UDP datagram becomes IP fragments. As in Linux (udp4_ufo_fragment,
// udp6_ufo_fragment), IPv4 fragments repeat all options and have no DF flag.

// The flag of all fragments except the last one, in the field of the offset: in IPv4, the offset is
// in units of 8 bytes; in IPv6, it is in bytes, and its lowest three bits are 0.
const (
	ipv4MoreFragments = 0x2000
	ipv6MoreFragments = 0x0001
)

// fragment emits f, a UDP datagram, as IP fragments with a payload of g.size bytes each. The
// checksum is that of the whole datagram. The head of the first fragment ends with the UDP header,
// which includes the checksum; the heads of the others end where the payloads of the fragments
// begin.
func (w *workbench) fragment(f *Frame, g *gso) {
	repeated := w.headers[:g.unfrag]
	copy(repeated, f.Head)
	if g.v6 {
		repeated = appendFragmentHeader(repeated, g.next)
	}
	ip := newIPTemplate(repeated, &g.headers)
	first := append(repeated, f.Head[g.unfrag:g.end]...)
	csum := first[len(first)-udpLen+udpCsum:]
	binary.BigEndian.PutUint16(csum, datagramChecksum(f, g))

	rest := payload{f.Head[g.end:], f.Body}
	total := f.Len - g.unfrag
	head := first
	for offset := 0; offset < total; offset += g.size {
		size := min(g.size, total-offset)
		s := w.newSegment(head)
		var unused checksum
		w.take(s, &rest, size-(len(head)-len(repeated)), &unused)
		more := offset+size < total
		if g.v6 {
			setFragmentOffset(s.Head[g.unfrag:], offset, more)
		}
		ip.finish(s.Head, ip.id, ipv4Fragment(offset, more), size)
		w.emit(s)
		head = repeated
	}
}

// datagramChecksum returns the checksum of f from the UDP header on. The checksum field holds the
// sum of the pseudo-header.
func datagramChecksum(f *Frame, g *gso) uint16 {
	var c checksum
	c.add(f.Head[g.l4:])
	c.addAll(f.Body)
	return c.fieldOrOnes()
}

// ipv4Fragment returns the IPv4 field of flags and fragment offset.
func ipv4Fragment(offset int, more bool) uint16 {
	v := uint16(offset / 8)
	if more {
		v |= ipv4MoreFragments
	}
	return v
}

// appendFragmentHeader appends a fragment header (RFC 8200, section 4.5) to an IPv6 packet's
// unfragmentable part, whose last next-header field is at next. The identification cannot be
// predicted (RFC 7739).
func appendFragmentHeader(unfrag []byte, next int) []byte {
	proto := unfrag[next]
	unfrag[next] = protoFragment
	unfrag = append(unfrag, proto, 0, 0, 0)
	return binary.BigEndian.AppendUint32(unfrag, rand.Uint32())
}

// setFragmentOffset fills in a fragment header.
func setFragmentOffset(header []byte, offset int, more bool) {
	v := uint16(offset)
	if more {
		v |= ipv6MoreFragments
	}
	binary.BigEndian.PutUint16(header[2:], v)
}
