package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// An enveloped is a packet that is being encapsulated.
type enveloped struct {
	data      []byte
	ethertype uint16 // EtherType of data
	proto     uint8  // protocol of data in an IP packet; 0: according to ethertype
	n         int    // number of the segment; 0 for the whole frame
	whole     bool   // the frame is to be segmented: checksums over the payload are not filled in
}

func (e *enveloped) prepend(header ...byte) { e.data = append(header, e.data...) }

func sealEther(tag bool) func(*enveloped) {
	return func(e *enveloped) {
		b := []byte{0x02, 0, 0, 0, 0, 0x12, 0x02, 0, 0, 0, 0, 0x11}
		if tag {
			b = append(b, 0x81, 0, 0x20, 7)
		}
		e.prepend(binary.BigEndian.AppendUint16(b, e.ethertype)...)
		e.ethertype = etherBridged
	}
}

func sealMPLS(labels int) func(*enveloped) {
	return func(e *enveloped) {
		for i := range labels {
			bottom := byte(0)
			if i == 0 {
				bottom = 1
			}
			e.prepend(0, 0x10, 0x20|bottom, 64)
		}
		e.ethertype, e.proto = etherMPLS, protoMPLS
	}
}

func sealGRE(csum, key bool) func(*enveloped) {
	return func(e *enveloped) {
		var flags uint16
		var rest []byte
		if csum {
			flags |= greCsum
			rest = append(rest, 0, 0, 0, 0)
		}
		if key {
			flags |= greKey
			rest = append(rest, 1, 2, 3, 4)
		}
		b := binary.BigEndian.AppendUint16(nil, flags)
		e.prepend(append(binary.BigEndian.AppendUint16(b, e.ethertype), rest...)...)
		if csum && !e.whole {
			binary.BigEndian.PutUint16(e.data[4:], naiveChecksum(e.data))
		}
		e.proto = protoGRE
	}
}

func (e *enveloped) carried() byte {
	switch {
	case e.proto != 0:
		return e.proto
	case e.ethertype == etherIPv6:
		return protoIPv6
	}
	return protoIPv4
}

var (
	outer4 = []byte{192, 0, 2, 1, 192, 0, 2, 2}
	outer6 = append(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 12)...), append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 12)...)...)
)

func sealIPv4(options int) func(*enveloped) {
	return func(e *enveloped) {
		b := []byte{byte(0x45 + options), 0, 0, 0, 0, 0, 0x40, 0, 64, e.carried(), 0, 0}
		b = append(b, outer4...)
		for range 4 * options {
			b = append(b, 1)
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(e.data)))
		binary.BigEndian.PutUint16(b[4:], 0xfffe+uint16(e.n))
		binary.BigEndian.PutUint16(b[10:], naiveChecksum(b))
		e.prepend(b...)
		e.ethertype, e.proto = etherIPv4, 0
	}
}

func sealIPv6(e *enveloped) {
	b := []byte{0x60, 1, 2, 3, byte(len(e.data) >> 8), byte(len(e.data)), e.carried(), 64}
	e.prepend(append(b, outer6...)...)
	e.ethertype, e.proto = etherIPv6, 0
}

// sealUDP prepends a tunnel's header and a UDP header. addresses are those of the IP header that
// follows later; nil: no checksum.
func sealUDP(port uint16, tunnel, addresses []byte) func(*enveloped) {
	return func(e *enveloped) {
		e.prepend(tunnel...)
		b := binary.BigEndian.AppendUint16([]byte{0xc0, 0x01}, port)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(e.data)))
		e.prepend(append(b, 0, 0)...)
		e.proto = protoUDP
		if addresses == nil {
			return
		}
		pseudo := binary.BigEndian.AppendUint32(slices.Clone(addresses), uint32(len(e.data)))
		pseudo = binary.BigEndian.AppendUint32(pseudo, protoUDP)
		csum := ^naiveChecksum(pseudo)
		if !e.whole {
			if csum = naiveChecksum(append(pseudo, e.data...)); csum == 0 {
				csum = 0xffff
			}
		}
		binary.BigEndian.PutUint16(e.data[6:], csum)
	}
}

var (
	vxlanHeader  = []byte{8, 0, 0, 0, 0, 0, 5, 0}
	genevePlain  = []byte{0, 0, 0x65, 0x58, 0, 0, 5, 0}
	geneveLong   = append([]byte{8, 0, 0x65, 0x58, 0, 0, 5, 0}, bytes.Repeat([]byte{0x45, 0x60, 0, 1}, 8)...)
	guePrivate   = []byte{1, 4, 0, 0, 0, 0, 0, 0}
	noTunnel     = []byte(nil)
	encapOptions = []envelopeStack{
		{"IPIP", []func(*enveloped){sealIPv4(0)}},
		{"IPIP with options", []func(*enveloped){sealIPv4(3)}},
		{"6in4 or 4in6", []func(*enveloped){sealIPv6}},
		{"IP in IP in IP", []func(*enveloped){sealIPv4(0), sealIPv6}},
		{"GRE", []func(*enveloped){sealGRE(false, false), sealIPv4(0)}},
		{"GRE, key", []func(*enveloped){sealGRE(false, true), sealIPv6}},
		{"GRE, checksum", []func(*enveloped){sealGRE(true, false), sealIPv4(0)}},
		{"GRE, checksum and key, over IPv6", []func(*enveloped){sealGRE(true, true), sealIPv6}},
		{"gretap, checksum", []func(*enveloped){sealEther(false), sealGRE(true, true), sealIPv4(0)}},
		{"gretap, tag", []func(*enveloped){sealEther(true), sealGRE(false, false), sealIPv4(0)}},
		{"VXLAN", []func(*enveloped){sealEther(false), sealUDP(4789, vxlanHeader, nil), sealIPv4(0)}},
		{"VXLAN, tag", []func(*enveloped){sealEther(true), sealUDP(8472, vxlanHeader, nil), sealIPv4(0)}},
		{"VXLAN, checksum", []func(*enveloped){sealEther(false), sealUDP(4789, vxlanHeader, outer4), sealIPv4(0)}},
		{"VXLAN over IPv6", []func(*enveloped){sealEther(false), sealUDP(4789, vxlanHeader, outer6), sealIPv6}},
		{"VXLAN over IPv6, no checksum", []func(*enveloped){sealEther(true), sealUDP(4789, vxlanHeader, nil), sealIPv6}},
		{"Geneve", []func(*enveloped){sealEther(false), sealUDP(6081, genevePlain, outer4), sealIPv4(0)}},
		{"Geneve, options like IP headers", []func(*enveloped){sealEther(false), sealUDP(6081, geneveLong, outer4), sealIPv4(0)}},
		{"GUE", []func(*enveloped){sealUDP(6080, guePrivate, outer4), sealIPv4(0)}},
		{"FOU", []func(*enveloped){sealUDP(5555, noTunnel, outer6), sealIPv6}},
		{"IPIP in VXLAN", []func(*enveloped){sealIPv4(0), sealEther(false), sealUDP(4789, vxlanHeader, outer4), sealIPv4(0)}},
		{"VXLAN in GRE", []func(*enveloped){sealEther(false), sealUDP(4789, vxlanHeader, outer4), sealIPv4(0), sealGRE(true, false), sealIPv4(0)}},
		{"MPLS", []func(*enveloped){sealMPLS(2)}},
		{"MPLS in IP", []func(*enveloped){sealMPLS(1), sealIPv4(0)}},
		{"MPLS in GRE", []func(*enveloped){sealMPLS(3), sealGRE(true, false), sealIPv4(0)}},
		{"MPLS in UDP", []func(*enveloped){sealMPLS(1), sealUDP(6635, noTunnel, outer4), sealIPv4(0)}},
	}
)

// An envelopeStack encapsulates a packet, from the inside out.
type envelopeStack struct {
	name  string
	seals []func(*enveloped)
}

// put encapsulates the packet of an Ethernet frame, and returns the result as an Ethernet frame
// with tags.
func (s *envelopeStack) put(frame []byte, tags, n int, whole bool) []byte {
	e := &enveloped{
		data: slices.Clone(frame[etherLen:]), ethertype: binary.BigEndian.Uint16(frame[12:]), n: n, whole: whole,
	}
	for _, seal := range s.seals {
		seal(e)
	}
	b := []byte{0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01}
	for i := range tags {
		b = append(b, 0x81, 0, 0, byte(10+i))
	}
	return append(binary.BigEndian.AppendUint16(b, e.ethertype), e.data...)
}

// encapsulatedGSO makes a GSO frame with an encapsulation, and the segments into which it is to be
// cut.
func encapsulatedGSO(rnd *rand.Rand, stack *envelopeStack, s packetShape, tags int) (f *Frame, want [][]byte) {
	inner := randomPacket(rnd, s)
	whole := stack.put(inner.data, tags, 0, true)
	o := inner.offload
	o.CsumStart += uint16(len(whole) - len(inner.data))
	f = newTestFrame(rnd, whole, o, HeadMax)
	for n, b := range reference(inner) {
		want = append(want, stack.put(b, tags, n, false))
	}
	return f, want
}

// eachEncapsulation calls do with all combinations of encapsulations and inner packets.
func eachEncapsulation(t *testing.T, do func(t *testing.T, stack *envelopeStack, s packetShape, tags int)) {
	for i := range encapOptions {
		stack := &encapOptions[i]
		t.Run(stack.name, func(t *testing.T) {
			for _, s := range []packetShape{
				{kind: kindTSO}, {kind: kindTSO, v6: true}, {kind: kindUSO}, {kind: kindUSO, v6: true},
			} {
				for tags := range 3 {
					s.maxPayload, s.maxGSO = 20000, 8800
					t.Run(fmt.Sprintf("%v-%d-tags", s, tags), func(t *testing.T) { do(t, stack, s, tags) })
				}
			}
		})
	}
}

// An encapsulated GSO frame becomes segments with correct headers, even if the port accepts GSO
// frames of every type.
func TestSegmentEncapsulated(t *testing.T) {
	all := Caps{Csum: true, TSO4: true, TSO6: true, ECN: true, UFO: true, USO4: true, USO6: true}
	eachEncapsulation(t, func(t *testing.T, stack *envelopeStack, s packetShape, tags int) {
		rnd := newTestRand(60)
		r := new(repairer)
		for _, caps := range []Caps{{}, all} {
			for range 5 {
				f, want := encapsulatedGSO(rnd, stack, s, tags)
				if len(want) == 1 {
					continue
				}
				if !checkOffload(f) {
					t.Fatalf("refused: %+v, %x", f.Offload, f.Head)
				}
				before := stateOf(f)
				port := &repairPort{caps: caps}
				lost := r.transmit(port, []*Frame{f})
				before.check(t, f)
				if len(lost) > 0 {
					t.Fatalf("lost: %+v", lost)
				}
				compareFrames(t, port.frames, want, s)
				for _, o := range port.offloads {
					if o != (Offload{}) {
						t.Fatalf("a segment has %+v", o)
					}
				}
			}
		}
	})
}

// The outer headers of a frame that fits into one segment have to be repaired, too: the checksum in
// an outer UDP header is that of a pseudo-header.
func TestSegmentEncapsulatedInOne(t *testing.T) {
	eachEncapsulation(t, func(t *testing.T, stack *envelopeStack, s packetShape, tags int) {
		rnd := newTestRand(61)
		s.maxPayload = 1000
		for range 3 {
			inner := randomPacket(rnd, s)
			inner.offload.GSOSize = uint16(len(inner.data)) + uint16(rnd.IntN(2)*60000)
			whole := stack.put(inner.data, tags, 0, true)
			o := inner.offload
			o.CsumStart += uint16(len(whole) - len(inner.data))
			f := newTestFrame(rnd, whole, o, HeadMax)
			if !checkOffload(f) {
				t.Fatalf("refused: %+v", f.Offload)
			}
			port := &repairPort{caps: Caps{Csum: true, TSO4: true, TSO6: true, MTU: 1500}}
			new(repairer).transmit(port, []*Frame{f})
			b := slices.Clone(inner.data)
			inner.fillIn(b)
			compareFrames(t, port.frames, [][]byte{stack.put(b, tags, 0, false)}, s)
		}
	})
}

// The MTU counts from the outermost IP header.
func TestSegmentEncapsulatedMTU(t *testing.T) {
	rnd := newTestRand(62)
	stack := &encapOptions[0]
	inner := randomPacket(rnd, packetShape{kind: kindTSO, maxPayload: 1})
	inner.data = append(inner.data[:inner.end], make([]byte, 9000)...)
	inner.setLengths()
	inner.offload.GSOSize = 1000
	whole := stack.put(inner.data, 1, 0, true)
	o := inner.offload
	o.CsumStart += uint16(len(whole) - len(inner.data))
	f := newTestFrame(rnd, whole, o, HeadMax)
	longest := len(whole) - etherLen - tagLen - 8000
	if !checkOffload(f) {
		t.Fatal("refused")
	}
	for _, tt := range []struct{ mtu, frames int }{{longest, 9}, {longest - 1, 0}} {
		port := &repairPort{caps: Caps{MTU: tt.mtu}}
		lost := new(repairer).transmit(port, []*Frame{f})
		var want losses
		if tt.frames == 0 {
			want = tooBig
		}
		if len(port.frames) != tt.frames || !slices.Equal(lost, want) {
			t.Errorf("MTU %d: %d frames, lost %+v; want %d, %+v", tt.mtu, len(port.frames), lost, tt.frames, want)
		}
	}
}

// Frames whose headers contradict each other are refused.
func TestEncapsulatedGSORefused(t *testing.T) {
	find := func(name string) *envelopeStack {
		i := slices.IndexFunc(encapOptions, func(s envelopeStack) bool { return s.name == name })
		return &encapOptions[i]
	}
	for _, tt := range []struct {
		name, stack string
		spoil       func(f *Frame)
	}{
		{"outer fragment", "IPIP", func(f *Frame) { f.Head[etherLen+6] |= 0x20 }},
		{"inner fragment", "IPIP", func(f *Frame) { f.Head[etherLen+20+6] |= 0x20 }},
		{"sequence number", "GRE, checksum", func(f *Frame) { f.Head[etherLen+20] |= 0x10 }},
		{"GRE version 1", "GRE", func(f *Frame) { f.Head[etherLen+20+1] |= 1 }},
		{"routing in GRE", "GRE", func(f *Frame) { f.Head[etherLen+20] |= 0x40 }},
		{"inner length", "VXLAN", func(f *Frame) { f.Head[etherLen+20+8+8+14+3]++ }},
		{"inner header checksum", "VXLAN", func(f *Frame) { f.Head[etherLen+20+8+8+14+8]++ }},
		{"csum_start beside the header", "VXLAN", func(f *Frame) { f.Offload.CsumStart += 2 }},
		{"csum_start before it", "IPIP", func(f *Frame) { f.Offload.CsumStart -= 20 }},
		{"csum_start of 0", "IPIP", func(f *Frame) { f.Offload.CsumStart = 0 }},
		{"csum_offset", "IPIP", func(f *Frame) { f.Offload.CsumOffset = udpCsum }},
		{"gso_size of 1", "IPIP", func(f *Frame) { f.Offload.GSOSize = 1 }},
		{"type of the outer IP", "6in4 or 4in6", func(f *Frame) { f.Offload.GSOType = GSOTCPv6 }},
		{"type of the outer UDP", "VXLAN", func(f *Frame) { f.Offload.GSOType = GSOUDPL4 }},
		{"UFO", "IPIP", func(f *Frame) { f.Offload.GSOType = GSOUDP }},
		{"labels without end", "MPLS", func(f *Frame) {
			for i := etherLen + 2; i < len(f.Head); i += 4 {
				f.Head[i] &^= 1
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rnd := newTestRand(63)
			base := func() *Frame {
				inner := randomPacket(rnd, packetShape{kind: kindTSO, maxPayload: 1})
				inner.data = append(inner.data[:inner.end], make([]byte, 9000)...)
				inner.setLengths()
				inner.offload.GSOSize = 1000
				whole := find(tt.stack).put(inner.data, 0, 0, true)
				o := inner.offload
				o.CsumStart += uint16(len(whole) - len(inner.data))
				return newTestFrame(rnd, whole, o, HeadMax)
			}
			if f := base(); !checkOffload(f) {
				t.Fatal("refused before it is made hostile")
			}
			f := base()
			tt.spoil(f)
			if checkOffload(f) {
				t.Fatalf("accepts %+v", f.Offload)
			}
		})
	}
}

// The search of a head full of bytes that look like IP headers is bounded.
func TestSearchIsBounded(t *testing.T) {
	data := sealedDecoys()
	s := search{head: data[:HeadMax], len: len(data), proto: protoTCP, l4: HeadMax - 20}
	if s.run() {
		t.Fatal("found something")
	}
	if s.steps <= maxLayerSteps {
		t.Fatalf("%d steps: the decoys do not work", s.steps)
	}
}

// sealedDecoys makes a frame of UDP whose payload consists of IPv6 headers that overlap.
func sealedDecoys() []byte {
	e := &enveloped{data: make([]byte, 0x6000-42)}
	for i := 0; i+8 <= HeadMax-42; i += 8 {
		// Version 6, the right length for this offset, and UDP or IPv6 as the next header.
		length := len(e.data) - i - ipv6Len
		copy(e.data[i:], []byte{0x60, 0, 0, 0, byte(length >> 8), byte(length), protoIPv6, 0x60})
	}
	sealUDP(1, nil, nil)(e)
	sealIPv4(0)(e)
	return append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, e.data...)
}

// The CRC of SCTP in an encapsulation is filled in as well.
func TestSCTPChecksumEncapsulated(t *testing.T) {
	for i := range encapOptions {
		stack := &encapOptions[i]
		for _, v6 := range []bool{false, true} {
			p := sctpPacket(packetShape{kind: kindTCPCsum, v6: v6}, 1000)
			if !v6 { // the search checks the checksum of IPv4
				clear(p.data[p.l3+10 : p.l3+12])
				binary.BigEndian.PutUint16(p.data[p.l3+10:], naiveChecksum(p.data[p.l3:p.l4]))
			}
			b := stack.put(p.data, 0, 0, false)
			at := len(b) - len(p.data) + p.l4
			o := p.offload
			o.CsumStart = uint16(at)
			f := newTestFrame(newTestRand(64), b, o, HeadMax)
			if !checkOffload(f) || f.Offload != (Offload{}) {
				t.Fatalf("%s: %+v", stack.name, f.Offload)
			}
			verifySCTP(t, frameBytes(f)[at:])
		}
	}
}

// RequestChecksum adds a request to a GSO frame without one, whatever its checksum fields contain,
// with and without encapsulations.
func TestRequestChecksum(t *testing.T) {
	check := func(t *testing.T, f *Frame, want [][]byte, s packetShape) {
		t.Helper()
		f.Offload = Offload{GSOType: f.Offload.GSOType, GSOSize: f.Offload.GSOSize, HdrLen: 7, Flags: f.Offload.Flags &^ HdrNeedsCsum}
		if checkOffload(f) {
			t.Fatal("accepted without a request")
		}
		if !RequestChecksum(f) || !checkOffload(f) {
			t.Fatalf("refused: %+v, %x", f.Offload, f.Head)
		}
		port := new(repairPort)
		new(repairer).transmit(port, []*Frame{f})
		compareFrames(t, port.frames, want, s)
	}
	rnd := newTestRand(65)
	for _, kind := range []packetKind{kindTSO, kindUSO} {
		for _, v6 := range []bool{false, true} {
			for tags := range 3 {
				// Linux uses the IPv6 header's destination for the pseudo-header, so no routing
				// headers.
				s := packetShape{kind: kind, v6: v6, tags: tags, maxPayload: 60000, maxGSO: 8800}
				t.Run(s.String(), func(t *testing.T) {
					for range 20 {
						p := randomPacket(rnd, s)
						f := newTestFrame(rnd, p.data, p.offload, HeadMax)
						binary.BigEndian.PutUint16(f.Head[p.l4+p.csumOffset():], uint16(rnd.Uint32()))
						check(t, f, reference(p), s)
					}
				})
			}
		}
	}
	eachEncapsulation(t, func(t *testing.T, stack *envelopeStack, s packetShape, tags int) {
		f, want := encapsulatedGSO(rnd, stack, s, tags)
		if s.kind == kindUSO {
			return // the request can only refer to the outermost UDP header
		}
		o := &f.Offload
		binary.BigEndian.PutUint16(f.Head[o.CsumStart+o.CsumOffset:], uint16(rnd.Uint32()))
		check(t, f, want, s)
	})
}

func TestRequestChecksumRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		shape packetShape
		spoil func(p *testPacket, f *Frame)
	}{
		{"no GSO", tso4, func(_ *testPacket, f *Frame) { f.Offload.GSOType = GSONone }},
		{"UFO", ufo4, func(*testPacket, *Frame) {}},
		{"unknown type", tso4, func(_ *testPacket, f *Frame) { f.Offload.GSOType = 2 }},
		{"other IP version", tso4, func(_ *testPacket, f *Frame) { f.Offload.GSOType = GSOTCPv6 }},
		{"other protocol", tso4, func(_ *testPacket, f *Frame) { f.Offload.GSOType = GSOUDPL4 }},
		{"fragment", tso4, func(p *testPacket, f *Frame) { f.Head[p.l3+6] |= 0x20 }},
		{"UDP length", uso4, func(p *testPacket, f *Frame) { f.Head[p.l4+5]++ }},
		{"ARP", tso4, func(p *testPacket, f *Frame) { putEtherType(p, f, etherARP) }},
		{"TCP header behind Head", tso4, func(p *testPacket, f *Frame) { truncateHead(f, p.l4+17) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := hostileBase(tt.shape)
			f := p.frame(newTestRand(66))
			f.Offload.Flags = HdrDataValid
			tt.spoil(p, f)
			before := stateOf(f)
			if RequestChecksum(f) {
				t.Fatalf("accepted: %+v", f.Offload)
			}
			before.check(t, f)
		})
	}
}

func BenchmarkSearchDecoys(b *testing.B) {
	data := sealedDecoys()
	for b.Loop() {
		s := search{head: data[:HeadMax], len: len(data), proto: protoTCP, l4: HeadMax - 20}
		s.run()
	}
}
