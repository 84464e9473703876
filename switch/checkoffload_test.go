package vswitch

import (
	"encoding/binary"
	"testing"
)

// Hostile requests, each named after what it tries. Each starts from a valid packet and a valid
// request.
type hostileTest struct {
	name  string
	shape packetShape
	spoil func(p *testPacket, f *Frame)
}

var hostileTests = []hostileTest{
	{"gso_size of 0 to divide by", tso4, func(p *testPacket, f *Frame) { f.Offload.GSOSize = 0 }},
	{"gso_size of 1 to multiply work", tso4, func(p *testPacket, f *Frame) { f.Offload.GSOSize = 1 }},
	{"UFO gso_size that rounds down to 0", ufo4, func(p *testPacket, f *Frame) { f.Offload.GSOSize = 7 }},
	{"UFO gso_size of 0", ufo6, func(p *testPacket, f *Frame) { f.Offload.GSOSize = 0 }},
	{"USO gso_size of 0", uso4, func(p *testPacket, f *Frame) { f.Offload.GSOSize = 0 }},
	{"unknown gso_type", tso4, func(p *testPacket, f *Frame) { f.Offload.GSOType = 2 }},
	{"ECN without TCP", uso4, func(p *testPacket, f *Frame) { f.Offload.GSOType |= GSOECN }},
	{"ECN without GSO", csum4, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOECN }},
	{"GSO without a checksum request", tso4, func(p *testPacket, f *Frame) { f.Offload.Flags = 0 }},
	{"GSO of data said to be valid", tso4, func(p *testPacket, f *Frame) { f.Offload.Flags = HdrDataValid }},
	{"TSO4 of IPv6", tso6, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOTCPv4 }},
	{"TSO6 of IPv4", tso4, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOTCPv6 }},
	{"TSO of UDP", uso4, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOTCPv4 }},
	{"TSO of UDP posing as TCP's checksum", uso4, func(p *testPacket, f *Frame) {
		f.Offload.GSOType, f.Offload.CsumOffset = GSOTCPv4, tcpCsum
	}},
	{"USO of TCP", tso4, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOUDPL4 }},
	{"UFO of TCP", tso6, func(p *testPacket, f *Frame) { f.Offload.GSOType = GSOUDP }},
	{"USO of TCP posing as UDP's checksum", tso4, func(p *testPacket, f *Frame) {
		f.Offload.GSOType, f.Offload.CsumOffset = GSOUDPL4, udpCsum
	}},
	{"UFO of TCP posing as UDP's checksum", tso6, func(p *testPacket, f *Frame) {
		f.Offload.GSOType, f.Offload.CsumOffset = GSOUDP, udpCsum
	}},
	{"GSO of ARP", tso4, func(p *testPacket, f *Frame) { putEtherType(p, f, etherARP) }},
	{"GSO behind three tags", packetShape{kind: kindTSO, tags: 2}, func(p *testPacket, f *Frame) {
		putEtherType(p, f, etherTag)
	}},
	{"IP version that contradicts the EtherType", tso4, func(p *testPacket, f *Frame) { f.Head[p.l3] = 0x65 }},
	{"IPv4 EtherType on IPv6", tso6, func(p *testPacket, f *Frame) { putEtherType(p, f, etherIPv4) }},
	{"IHL below the least", tso4, func(p *testPacket, f *Frame) { f.Head[p.l3] = 0x44 }},
	{"IHL that moves the TCP header", tso4, func(p *testPacket, f *Frame) { f.Head[p.l3] = 0x4f }},
	{"data offset below the least", tso4, func(p *testPacket, f *Frame) { f.Head[p.l4+12] = 0x40 }},
	{"data offset behind Head", tso4, func(p *testPacket, f *Frame) { f.Head[p.l4+12] = 0xf0; truncateHead(f, p.l4+40) }},
	{"TCP header behind Head", tso4, func(p *testPacket, f *Frame) { truncateHead(f, p.l4+19) }},
	{"UDP header behind Head", uso4, func(p *testPacket, f *Frame) { truncateHead(f, p.l4+7) }},
	{"GSO of a fragment", tso4, func(p *testPacket, f *Frame) { f.Head[p.l3+6] |= 0x20 }},
	{"GSO of a later fragment", uso4, func(p *testPacket, f *Frame) { f.Head[p.l3+7] |= 1 }},
	{"GSO of an IPv6 fragment", tso6, func(p *testPacket, f *Frame) { f.Head[p.l3+6] = protoFragment }},
	{"csum_start elsewhere than at the TCP header", tso4, func(p *testPacket, f *Frame) { f.Offload.CsumStart += 2 }},
	{"csum_offset elsewhere than TCP's", tso4, func(p *testPacket, f *Frame) { f.Offload.CsumOffset = udpCsum }},
	{"csum_start behind the frame", csum4, func(p *testPacket, f *Frame) { f.Offload.CsumStart = uint16(f.Len) }},
	{"csum_start plus csum_offset wraps around", csum4, func(p *testPacket, f *Frame) {
		f.Offload.CsumStart, f.Offload.CsumOffset = 0xfff0, 0x20+uint16(p.l4)
	}},
	{"csum field half behind Head", csum4, func(p *testPacket, f *Frame) { truncateHead(f, p.l4+tcpCsum+1) }},
	{"csum field on the MAC address", csum4, func(p *testPacket, f *Frame) { f.Offload.CsumStart, f.Offload.CsumOffset = 0, 6 }},
	{"csum field in the IP header at TCP's csum_offset", csum4, func(p *testPacket, f *Frame) {
		f.Offload.CsumStart, f.Offload.CsumOffset = uint16(p.l3-6), tcpCsum
	}},
	{"csum field on the VLAN tag", packetShape{kind: kindTCPCsum, tags: 1}, func(p *testPacket, f *Frame) {
		f.Offload.CsumStart, f.Offload.CsumOffset = 14, 0
	}},
	{"csum field on the IP source that a policy has checked", csum4, func(p *testPacket, f *Frame) {
		f.Offload.CsumStart, f.Offload.CsumOffset = uint16(p.l3), 12
	}},
	{"csum field on the IPv6 source", csum6, func(p *testPacket, f *Frame) {
		f.Offload.CsumStart, f.Offload.CsumOffset = uint16(p.l3), 8
	}},
	{"csum field in ARP", csum4, func(p *testPacket, f *Frame) { putEtherType(p, f, etherARP) }},
	{"csum field on a TCP port", csum4, func(p *testPacket, f *Frame) { f.Offload.CsumOffset = 0 }},
	{"csum field on a UDP length", packetShape{kind: kindUDPCsum}, func(p *testPacket, f *Frame) { f.Offload.CsumOffset = 4 }},
	{"csum field on the target of a neighbor advertisement", csum6, func(p *testPacket, f *Frame) {
		f.Head[p.next] = protoICMPv6
		f.Offload.CsumOffset = 8
	}},
	{"csum field on that by another way", csum6, func(p *testPacket, f *Frame) {
		f.Head[p.next] = protoICMPv6
		f.Offload.CsumStart += 6
		f.Offload.CsumOffset = 2
	}},
	{"csum of a fragment", csum4, func(p *testPacket, f *Frame) { f.Head[p.l3+6] |= 0x20 }},
	{"IPv6 extension headers without end", csum6, func(p *testPacket, f *Frame) {
		f.Head[p.l3+6] = protoDestOpts
		for i := p.l3 + ipv6Len; i < len(f.Head); i++ {
			f.Head[i] = 0
			if (i-p.l3)%8 == 0 {
				f.Head[i] = protoDestOpts
			}
		}
	}},
	{"IPv6 extension header longer than the frame", csum6, func(p *testPacket, f *Frame) {
		f.Head[p.l3+6] = protoRouting
		f.Head[p.l3+ipv6Len+1] = 0xff
	}},
	{"csum field of SCTP where TCP has it", csum4, func(p *testPacket, f *Frame) { f.Head[p.l3+9] = protoSCTP }},
	{"csum of SCTP half behind Head", csum4, func(p *testPacket, f *Frame) {
		f.Head[p.l3+9] = protoSCTP
		f.Offload.CsumOffset = sctpCsum
		truncateHead(f, p.l4+sctpCsum+2)
	}},
}

var (
	tso4  = packetShape{kind: kindTSO}
	tso6  = packetShape{kind: kindTSO, v6: true}
	uso4  = packetShape{kind: kindUSO}
	ufo4  = packetShape{kind: kindUFO}
	ufo6  = packetShape{kind: kindUFO, v6: true}
	csum4 = packetShape{kind: kindTCPCsum}
	csum6 = packetShape{kind: kindTCPCsum, v6: true}
)

func putEtherType(p *testPacket, f *Frame, v uint16) {
	binary.BigEndian.PutUint16(f.Head[p.l3-2:], v)
}

// truncateHead moves the end of f's Head to n.
func truncateHead(f *Frame, n int) {
	rest := f.Head[n:]
	f.Head = f.Head[:n:n]
	f.Body = append([][]byte{rest}, f.Body...)
}

// hostileBase makes a packet for a hostile test, of 8 KiB.
func hostileBase(s packetShape) *testPacket {
	rnd := newTestRand(30)
	s.maxPayload, s.maxGSO = 1, 1
	p := randomPacket(rnd, s)
	p.data = append(p.data[:p.end], randomBytes(rnd, 8192)...)
	p.setLengths()
	p.offload.HdrLen = 0
	if p.offload.GSOType != GSONone {
		p.offload.GSOSize = 1000
	}
	return p
}

func TestCheckOffloadRefuses(t *testing.T) {
	for _, tt := range hostileTests {
		t.Run(tt.name, func(t *testing.T) {
			rnd := newTestRand(31)
			p := hostileBase(tt.shape)
			if f := p.frame(rnd); !checkOffload(f) {
				t.Fatal("refuses the request before it is made hostile")
			}
			f := p.frame(rnd)
			tt.spoil(p, f)
			before := frameBytes(f)
			if checkOffload(f) {
				t.Fatalf("accepts %+v", f.Offload)
			}
			if string(before) != string(frameBytes(f)) {
				t.Fatal("changes the frame")
			}
		})
	}
}

// A frame that has not passed the check, and reaches repair nevertheless, does no harm.
func TestRepairOfWhatWasNotChecked(t *testing.T) {
	for _, tt := range hostileTests {
		t.Run(tt.name, func(t *testing.T) {
			p := hostileBase(tt.shape)
			f := p.frame(newTestRand(32))
			tt.spoil(p, f)
			before := stateOf(f)
			port := &repairPort{caps: Caps{MTU: 9000}}
			new(repairer).transmit(port, []*Frame{f})
			before.check(t, f)
		})
	}
}

func TestCheckOffloadNormalises(t *testing.T) {
	tests := []struct {
		name string
		in   Offload
		want func(p *testPacket) Offload
	}{
		{"unknown flags are ignored", Offload{Flags: 0xfc}, func(*testPacket) Offload { return Offload{} }},
		{"fields without meaning are cleared", Offload{Flags: HdrDataValid, HdrLen: 60000, GSOSize: 7, CsumStart: 60000, CsumOffset: 60000},
			func(*testPacket) Offload { return Offload{Flags: HdrDataValid} }},
		{"a checksum to fill in has not been verified", Offload{Flags: 0xff, CsumStart: 34, CsumOffset: 16, HdrLen: 100, GSOSize: 100},
			func(*testPacket) Offload { return Offload{Flags: HdrNeedsCsum, CsumStart: 34, CsumOffset: 16} }},
		{"hdr_len is a hint", Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, CsumStart: 34, CsumOffset: 16, GSOSize: 1000, HdrLen: 1},
			func(p *testPacket) Offload {
				return Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, CsumStart: 34, CsumOffset: 16, GSOSize: 1000, HdrLen: uint16(p.end)}
			}},
		{"hdr_len beyond the frame", Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, CsumStart: 34, CsumOffset: 16, GSOSize: 1000, HdrLen: 0xffff},
			func(p *testPacket) Offload {
				return Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, CsumStart: 34, CsumOffset: 16, GSOSize: 1000, HdrLen: uint16(p.end)}
			}},
		{"hdr_len beyond a frame without GSO", Offload{Flags: HdrNeedsCsum, CsumStart: 34, CsumOffset: 16, HdrLen: 0xffff},
			func(*testPacket) Offload { return Offload{Flags: HdrNeedsCsum, CsumStart: 34, CsumOffset: 16} }},
		{"one segment is no GSO", Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4 | GSOECN, CsumStart: 34, CsumOffset: 16, GSOSize: 8192},
			func(*testPacket) Offload { return Offload{Flags: HdrNeedsCsum, CsumStart: 34, CsumOffset: 16} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := hostileBase(tso4)
			p.offload = tt.in
			f := newTestFrame(newTestRand(33), p.data, Offload{}, 0)
			f.Offload = tt.in
			if !checkOffload(f) {
				t.Fatal("refused")
			}
			if want := tt.want(p); f.Offload != want {
				t.Fatalf("got  %+v\nwant %+v", f.Offload, want)
			}
		})
	}
}

// Linux requests the inner checksum of a tunnel, here that of TCP in VXLAN, and checksums of
// protocols that this package does not know.
func TestCheckOffloadPassesOtherChecksums(t *testing.T) {
	tests := []struct {
		name   string
		shape  packetShape
		change func(p *testPacket, f *Frame)
	}{
		{"inside UDP", packetShape{kind: kindUDPCsum}, func(p *testPacket, f *Frame) {
			f.Offload.CsumStart, f.Offload.CsumOffset = uint16(p.end+8+14+20), tcpCsum
		}},
		{"inside GRE", csum4, func(p *testPacket, f *Frame) {
			f.Head[p.l3+9] = 47
			f.Offload.CsumStart, f.Offload.CsumOffset = uint16(p.l4+4+20), udpCsum
		}},
		{"ICMPv6", csum6, func(p *testPacket, f *Frame) {
			f.Head[p.next] = protoICMPv6
			f.Offload.CsumOffset = icmpv6Csum
		}},
		{"behind three tags", packetShape{kind: kindTCPCsum, tags: 2}, func(p *testPacket, f *Frame) {
			putEtherType(p, f, etherTag)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := hostileBase(tt.shape)
			f := p.frame(newTestRand(34))
			tt.change(p, f)
			if !checkOffload(f) {
				t.Fatal("refused")
			}
			start := int(f.Offload.CsumStart)
			clear(f.Head[start+int(f.Offload.CsumOffset):][:2]) // a pseudo-header whose sum is 0
			port := new(repairPort)
			new(repairer).transmit(port, []*Frame{f})
			if got := naiveChecksum(port.frames[0][start:]); got != 0 {
				t.Fatalf("the sum from %d to the end is %#04x short of all ones", start, got)
			}
		})
	}
}
