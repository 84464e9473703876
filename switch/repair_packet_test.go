package vswitch

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
)

// A testPacket is a frame with an offload request, and its layout, so that no test has to parse the
// frame.
type testPacket struct {
	data    []byte
	offload Offload

	v6, tcp bool
	l3, l4  int // start of the IP header, and of the TCP or UDP header
	end     int // start of the payload
	unfrag  int // the place for an IPv6 fragment header
	next    int // the IPv6 field with the protocol of the header at unfrag
}

// A packetKind is the offload that a testPacket requests.
type packetKind int

const (
	kindTCPCsum packetKind = iota
	kindUDPCsum
	kindTSO
	kindUSO
	kindUFO
	numKinds
)

func (k packetKind) String() string {
	return [...]string{"TCP-checksum", "UDP-checksum", "TSO", "USO", "UFO"}[k]
}

// A packetShape has the properties of a random packet.
type packetShape struct {
	kind       packetKind
	v6         bool
	tags       int  // VLAN tags
	extensions bool // perhaps with IPv4 options or IPv6 extension headers
	maxPayload int
	maxGSO     int // the most bytes of payload in a segment

	maxSegments int // 0: 300
}

// randomPacket makes a packet with valid headers. Its checksum field contains the pseudo-header's
// sum.
func randomPacket(rnd *rand.Rand, s packetShape) *testPacket {
	p := &testPacket{v6: s.v6, tcp: s.kind == kindTCPCsum || s.kind == kindTSO}
	p.addEthernet(rnd, s)
	if s.v6 {
		p.addIPv6(rnd, s)
	} else {
		p.addIPv4(rnd, s)
	}
	p.addTransport(rnd)
	room := min(s.maxPayload, 65535-(len(p.data)-p.l3))
	payload := 1 + rnd.IntN(room)
	if rnd.IntN(3) == 0 {
		payload = 1 + rnd.IntN(min(room, 5000))
	}
	p.data = append(p.data, randomBytes(rnd, payload)...)
	p.setLengths()
	p.request(rnd, s, payload)
	return p
}

func (p *testPacket) addEthernet(rnd *rand.Rand, s packetShape) {
	p.data = append(p.data, 0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01)
	for i := range s.tags {
		tpid := uint16(etherTag)
		if i == 0 && s.tags == 2 {
			tpid = etherSTag
		}
		p.put16(tpid, uint16(rnd.IntN(8))<<13|uint16(1+rnd.IntN(4094)))
	}
	if s.v6 {
		p.put16(etherIPv6)
	} else {
		p.put16(etherIPv4)
	}
	p.l3 = len(p.data)
}

func (p *testPacket) put16(vs ...uint16) {
	for _, v := range vs {
		p.data = binary.BigEndian.AppendUint16(p.data, v)
	}
}

func (p *testPacket) proto() byte {
	if p.tcp {
		return protoTCP
	}
	return protoUDP
}

func (p *testPacket) addIPv4(rnd *rand.Rand, s packetShape) {
	options := 0
	if s.extensions && rnd.IntN(2) == 0 {
		// No more than fits into a Head with two tags and full TCP options.
		options = rnd.IntN(7) * 4
	}
	flags := uint16(0)
	if rnd.IntN(2) == 0 {
		flags = 0x4000 // DF
	}
	p.data = append(p.data, 0x45+byte(options/4), byte(rnd.IntN(64))<<2)
	p.put16(0, uint16(rnd.Uint32()), flags)
	p.data = append(p.data, 64, p.proto(), 0, 0, 10, 1, 2, byte(1+rnd.IntN(200)), 10, 1, 3, byte(1+rnd.IntN(200)))
	for range options {
		p.data = append(p.data, 1) // no operation
	}
	p.l4 = len(p.data)
	p.unfrag = p.l4
}

func (p *testPacket) addIPv6(rnd *rand.Rand, s packetShape) {
	p.data = append(p.data, 0x60|byte(rnd.IntN(16)), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32()))
	p.put16(0)
	p.next = len(p.data)
	p.data = append(p.data, p.proto(), 64)
	p.data = append(p.data, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, byte(rnd.Uint32()))
	p.data = append(p.data, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, byte(rnd.Uint32()))
	p.unfrag = len(p.data)
	if s.extensions {
		if rnd.IntN(2) == 0 {
			p.addExtension(protoHopByHop, 8)
		}
		if rnd.IntN(3) == 0 {
			p.addExtension(protoDestOpts, 8*(1+rnd.IntN(2)))
		}
		if s.kind != kindUFO && rnd.IntN(3) == 0 {
			p.addRouting()
		}
	}
	p.l4 = len(p.data)
}

// addExtension appends an extension header of padding to the unfragmentable part.
func (p *testPacket) addExtension(proto byte, length int) {
	p.data[p.next] = proto
	p.next = len(p.data)
	p.data = append(p.data, p.proto(), byte(length/8-1), 1, byte(length-4)) // PadN
	p.data = append(p.data, make([]byte, length-4)...)
	p.unfrag = len(p.data)
}

// addRouting appends a routing header (RFC 8200, section 4.4) of a packet that has reached its
// destination: the number of segments left is 0.
func (p *testPacket) addRouting() {
	p.data[p.next] = protoRouting
	p.next = len(p.data)
	p.data = append(p.data, p.proto(), 0, 253, 0, 0, 0, 0, 0) // an experimental type (RFC 4727)
	p.unfrag = len(p.data)
}

func (p *testPacket) addTransport(rnd *rand.Rand) {
	// Ports for which gopacket knows no protocol.
	p.put16(uint16(20000+rnd.IntN(40000)), uint16(20000+rnd.IntN(40000)))
	if !p.tcp {
		p.put16(0, 0)
		p.end = len(p.data)
		return
	}
	options := rnd.IntN(11) * 4
	p.data = binary.BigEndian.AppendUint32(p.data, rnd.Uint32()|rnd.Uint32()) // often about to wrap
	p.data = binary.BigEndian.AppendUint32(p.data, rnd.Uint32())
	p.data = append(p.data, byte(5+options/4)<<4|byte(rnd.IntN(16)), byte(rnd.Uint32()))
	p.put16(uint16(rnd.Uint32()), 0, 0)
	for range options {
		p.data = append(p.data, 1) // no operation
	}
	p.end = len(p.data)
}

// setLengths fills in the lengths and the checksum of the IP header, and the pseudo-header's sum.
func (p *testPacket) setLengths() {
	be := binary.BigEndian
	ip := p.data[p.l3:]
	if p.v6 {
		be.PutUint16(ip[4:], uint16(len(ip)-ipv6Len))
	} else {
		be.PutUint16(ip[2:], uint16(len(ip)))
		be.PutUint16(ip[10:], 0)
		be.PutUint16(ip[10:], naiveChecksum(p.data[p.l3:p.l4]))
	}
	l4 := p.data[p.l4:]
	if !p.tcp {
		be.PutUint16(l4[4:], uint16(len(l4)))
	}
	be.PutUint16(l4[p.csumOffset():], ^naiveChecksum(p.pseudoHeader(len(l4))))
}

func (p *testPacket) csumOffset() int {
	if p.tcp {
		return tcpCsum
	}
	return udpCsum
}

// pseudoHeader returns the pseudo-header for a packet with length bytes from the transport header
// on (RFC 9293, section 3.1; RFC 8200, section 8.1).
func (p *testPacket) pseudoHeader(length int) []byte {
	ip := p.data[p.l3:]
	var b []byte
	if p.v6 {
		b = append(b, ip[8:40]...)
	} else {
		b = append(b, ip[12:20]...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return binary.BigEndian.AppendUint32(b, uint32(p.proto()))
}

func (p *testPacket) request(rnd *rand.Rand, s packetShape, payload int) {
	o := &p.offload
	o.Flags = HdrNeedsCsum
	o.CsumStart = uint16(p.l4)
	o.CsumOffset = uint16(p.csumOffset())
	switch s.kind {
	case kindTSO:
		o.GSOType = GSOTCPv4
		if s.v6 {
			o.GSOType = GSOTCPv6
		}
		if rnd.IntN(2) == 0 {
			o.GSOType |= GSOECN // CWR may be set without GSOECN, and vice versa
		}
	case kindUSO:
		o.GSOType = GSOUDPL4
	case kindUFO:
		o.GSOType = GSOUDP
	default:
		return
	}
	o.HdrLen = uint16(rnd.IntN(len(p.data))) // a hint, and a wrong one
	least := 8 + payload/cmp.Or(s.maxSegments, 300)
	o.GSOSize = uint16(least + rnd.IntN(max(s.maxGSO-least, 1)))
	if s.kind == kindUFO {
		o.GSOSize = (o.GSOSize + 7) &^ 7
	}
}

// frame returns the packet as a source would deliver it, in random pieces.
func (p *testPacket) frame(rnd *rand.Rand) *Frame {
	return newTestFrame(rnd, p.data, p.offload, p.end)
}

// newTestFrame makes a Frame from data, with at least headLen bytes in Head, if data is that long.
func newTestFrame(rnd *rand.Rand, data []byte, o Offload, headLen int) *Frame {
	headLen = min(max(HeadLen, headLen, int(o.CsumStart)+int(o.CsumOffset)+2), HeadMax)
	headLen = min(headLen+rnd.IntN(2)*rnd.IntN(64), len(data))
	room := make([]byte, Headroom+headLen)
	f := &Frame{Head: room[Headroom:], Room: room, Len: len(data), Offload: o}
	copy(f.Head, data)
	most := 1 + rnd.IntN(9000)
	if rnd.IntN(4) == 0 {
		most = 1 + rnd.IntN(100)
	}
	f.Body = randomPieces(rnd, append([]byte(nil), data[headLen:]...), most)
	return f
}

// frameBytes returns the whole of f.
func frameBytes(f *Frame) []byte {
	b := append([]byte(nil), f.Head...)
	for _, piece := range f.Body {
		b = append(b, piece...)
	}
	return b
}

// newTestRand returns a generator that generates the same numbers each time.
func newTestRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
