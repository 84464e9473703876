package vswitch

import "encoding/binary"

// The reference that repair is compared with: written from the RFCs, slow, on whole frames, with
// every checksum computed from scratch. It knows the places of a packet's headers from the code
// that made the packet.

// reference returns the frames that repair must make from p for a port that accepts no offloads.
// The identification of IPv6 fragments is 0.
func reference(p *testPacket) [][]byte {
	begin := p.end // of the segmented part
	if p.offload.GSOType == GSOUDP {
		begin = p.unfrag
	}
	size := int(p.offload.GSOSize)
	switch {
	case p.offload.GSOType == GSONone, len(p.data)-begin <= size:
		b := append([]byte(nil), p.data...)
		p.fillIn(b)
		if csum := b[p.l4+p.csumOffset():]; csum[0] == 0 && csum[1] == 0 {
			csum[0], csum[1] = 0xff, 0xff // see workbench.complete
		}
		return [][]byte{b}
	case p.offload.GSOType == GSOUDP:
		return p.referenceFragments(size)
	}
	return p.referenceSegments(size)
}

// fillIn computes the checksum of b, a frame with p's headers.
func (p *testPacket) fillIn(b []byte) {
	l4 := b[p.l4:]
	field := l4[p.csumOffset():]
	field[0], field[1] = 0, 0
	sum := naiveChecksum(append(p.pseudoHeader(len(l4)), l4...))
	if sum == 0 && !p.tcp {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}

// fillInIP sets the length of b, a frame with p's IP header, and the header's checksum.
func (p *testPacket) fillInIP(b []byte) {
	ip := b[p.l3:]
	if p.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], naiveChecksum(b[p.l3:p.l4]))
}

func (p *testPacket) referenceSegments(size int) (out [][]byte) {
	be := binary.BigEndian
	data := p.data[p.end:]
	for i := 0; i*size < len(data); i++ {
		part := data[i*size : min((i+1)*size, len(data))]
		last := (i+1)*size >= len(data)
		b := append(append([]byte(nil), p.data[:p.end]...), part...)
		l4 := b[p.l4:]
		if !p.v6 {
			id := b[p.l3+4:]
			be.PutUint16(id, be.Uint16(id)+uint16(i))
		}
		if p.tcp {
			be.PutUint32(l4[4:], be.Uint32(l4[4:])+uint32(i*size))
			if i > 0 {
				l4[13] &= 0x7f // CWR
			}
			if !last {
				l4[13] &= 0xf6 // PSH, FIN
			}
		} else {
			be.PutUint16(l4[4:], uint16(len(l4)))
		}
		p.fillInIP(b)
		p.fillIn(b)
		out = append(out, b)
	}
	return out
}

func (p *testPacket) referenceFragments(size int) (out [][]byte) {
	be := binary.BigEndian
	whole := append([]byte(nil), p.data...)
	p.fillIn(whole)
	data := whole[p.unfrag:]
	for offset := 0; offset < len(data); offset += size {
		part := data[offset:min(offset+size, len(data))]
		more := offset+size < len(data)
		b := append([]byte(nil), whole[:p.unfrag]...)
		field := uint16(offset)
		if p.v6 {
			if more {
				field |= 1
			}
			b = append(b, b[p.next], 0, byte(field>>8), byte(field), 0, 0, 0, 0)
			b[p.next] = 44
		} else {
			field /= 8
			if more {
				field |= 0x2000
			}
			be.PutUint16(b[p.l3+6:], field)
		}
		b = append(b, part...)
		p.fillInIP(b)
		out = append(out, b)
	}
	return out
}
