package netport

import (
	"encoding/binary"
	"math/bits"
)

// flowHash returns a number that is the same for all frames of a flow, in both directions, so that
// a flow stays on one queue. It covers Ethernet, one VLAN tag, IPv4 or IPv6, and the ports of TCP
// or UDP. Only the first fragment of a datagram contains ports, so fragments are hashed by
// addresses alone.
func flowHash(head []byte) uint32 {
	if len(head) < 14 {
		return 0
	}
	typ, l3 := binary.BigEndian.Uint16(head[12:]), head[14:]
	if typ == 0x8100 && len(l3) >= 4 {
		typ, l3 = binary.BigEndian.Uint16(l3[2:]), l3[4:]
	}
	var sum uint32
	var proto byte
	var l4 []byte
	switch {
	case typ == 0x0800 && len(l3) >= 20:
		sum = binary.LittleEndian.Uint32(l3[12:]) ^ binary.LittleEndian.Uint32(l3[16:])
		const moreFragmentsOrOffset = 0x3fff
		if ihl := int(l3[0]&15) * 4; ihl >= 20 && len(l3) >= ihl && binary.BigEndian.Uint16(l3[6:])&moreFragmentsOrOffset == 0 {
			proto, l4 = l3[9], l3[ihl:]
		}
	case typ == 0x86dd && len(l3) >= 40:
		for i := 8; i < 40; i += 4 {
			sum ^= binary.LittleEndian.Uint32(l3[i:])
		}
		proto, l4 = l3[6], l3[40:]
	default:
		// The last four bytes of each MAC address.
		sum = binary.LittleEndian.Uint32(head[2:]) ^ binary.LittleEndian.Uint32(head[8:])
	}
	if (proto == 6 || proto == 17) && len(l4) >= 4 {
		sum ^= uint32(binary.LittleEndian.Uint16(l4)^binary.LittleEndian.Uint16(l4[2:])) << 8
	}
	// Spread the differences over all bits (multiplication by the golden ratio).
	hi, lo := bits.Mul32(sum, 0x9e3779b9)
	return hi ^ lo
}
