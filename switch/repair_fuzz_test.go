package vswitch

import (
	"encoding/binary"
	"slices"
	"testing"
)

// fuzzFrame reads a virtio-net header of 10 bytes and a frame from data, as a source does: with as
// much in Head as the header requires. It returns nil where a source would drop the frame.
func fuzzFrame(data []byte, piece byte) *Frame {
	if len(data) < 10+MinFrameLen || len(data) > 10+MaxFrameLen {
		return nil
	}
	le := binary.LittleEndian
	o := Offload{
		Flags: data[0], GSOType: data[1], HdrLen: le.Uint16(data[2:]),
		GSOSize: le.Uint16(data[4:]), CsumStart: le.Uint16(data[6:]), CsumOffset: le.Uint16(data[8:]),
	}
	data = data[10:]
	n := HeadLen
	if o.Flags&HdrNeedsCsum != 0 {
		n = max(n, int(o.CsumStart)+int(o.CsumOffset)+2)
	}
	n = min(n, len(data), HeadMax)
	// The capacities of all slices are exact, so that an access out of bounds panics.
	room := make([]byte, Headroom+n)
	f := &Frame{Head: room[Headroom:], Room: room, Len: len(data), Offload: o}
	copy(f.Head, data)
	for rest := data[n:]; len(rest) > 0; {
		k := min(int(piece)*8+1, len(rest))
		f.Body = append(f.Body, append(make([]byte, 0, k), rest[:k]...))
		rest = rest[k:]
	}
	return f
}

func addFuzzSeeds(f *testing.F) {
	add := func(o Offload, data []byte, piece byte) {
		b := []byte{o.Flags, o.GSOType}
		for _, v := range []uint16{o.HdrLen, o.GSOSize, o.CsumStart, o.CsumOffset} {
			b = binary.LittleEndian.AppendUint16(b, v)
		}
		f.Add(append(b, data...), piece, uint16(1500), uint8(0))
	}
	rnd := newTestRand(40)
	allShapes(func(s packetShape) {
		s.maxPayload, s.maxGSO = 600, 200
		p := randomPacket(rnd, s)
		add(p.offload, p.data, byte(rnd.Uint32()))
	})
	for i := range encapOptions {
		fr, _ := encapsulatedGSO(rnd, &encapOptions[i], packetShape{kind: kindTSO, maxPayload: 600, maxGSO: 200}, i%3)
		add(fr.Offload, frameBytes(fr), byte(rnd.Uint32()))
	}
	add(Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, GSOSize: 1000, CsumStart: HeadMax - 20, CsumOffset: tcpCsum}, sealedDecoys(), 100)
	for _, tt := range hostileTests {
		p := hostileBase(tt.shape)
		fr := p.frame(rnd)
		tt.spoil(p, fr)
		add(fr.Offload, frameBytes(fr)[:min(fr.Len, 2000)], 100)
	}
}

// fuzzCaps makes Caps from a number; all combinations are possible.
func fuzzCaps(mtu uint16, bits uint8) Caps {
	bit := func(n int) bool { return bits>>n&1 != 0 }
	return Caps{Csum: bit(0), TSO4: bit(1), TSO6: bit(2), ECN: bit(3), UFO: bit(4), USO4: bit(5), USO6: bit(6), MTU: int(mtu)}
}

// FuzzCheckOffload: a request that passes the check is in bounds, and passes the check again
// unchanged.
func FuzzCheckOffload(f *testing.F) {
	addFuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, piece byte, _ uint16, _ uint8) {
		fr := fuzzFrame(data, piece)
		if fr == nil || !checkOffload(fr) {
			return
		}
		o := fr.Offload
		if o.Flags&HdrNeedsCsum != 0 && int(o.CsumStart)+int(o.CsumOffset)+2 > len(fr.Head) {
			t.Fatalf("checksum outside Head: %+v", o)
		}
		if o.GSOType != GSONone {
			if o.GSOSize == 0 || o.Flags&HdrNeedsCsum == 0 || int(o.HdrLen) > len(fr.Head) || int(o.HdrLen) <= int(o.CsumStart) {
				t.Fatalf("%+v", o)
			}
		}
		if !checkOffload(fr) || fr.Offload != o {
			t.Fatalf("%+v, the second time %+v", o, fr.Offload)
		}
	})
}

// FuzzRepair: repair makes no frame longer than the MTU, and none with a request that the port does
// not accept; the payload is sent once, and in order.
func FuzzRepair(f *testing.F) {
	addFuzzSeeds(f)
	r := new(repairer)
	f.Fuzz(func(t *testing.T, data []byte, piece byte, mtu uint16, bits uint8) {
		fr := fuzzFrame(data, piece)
		if fr == nil || !checkOffload(fr) {
			return
		}
		before := stateOf(fr)
		port := &repairPort{caps: fuzzCaps(mtu, bits)}
		lost := r.transmit(port, []*Frame{fr})
		before.check(t, fr)
		if slices.Equal(lost, tooBig) {
			if len(port.frames) > 0 || mtu == 0 {
				t.Fatalf("too big, and %d frames, MTU %d", len(port.frames), mtu)
			}
			return
		}
		if len(lost) > 0 {
			t.Fatalf("repair loses %+v of what the check has passed", lost)
		}
		checkRepaired(t, fr, port)
	})
}

// checkRepaired checks the frames that repair has made from fr.
func checkRepaired(t *testing.T, fr *Frame, port *repairPort) {
	t.Helper()
	caps := port.caps
	l3, _ := network(fr.Head)
	var payload []byte
	for i, b := range port.frames {
		o := port.offloads[i]
		if o.GSOType == GSONone && caps.MTU != 0 && len(b)-l3 > caps.MTU {
			t.Fatalf("%d bytes, MTU %d", len(b), caps.MTU)
		}
		if !caps.Csum && o != (Offload{}) {
			t.Fatalf("offloads for a port without: %+v", o)
		}
		if o.GSOType != GSONone && (len(port.frames) != 1 || o != fr.Offload) {
			t.Fatalf("a GSO frame that was none before: %+v", o)
		}
		payload = append(payload, b[min(payloadOffset(t, fr, port, b), len(b)):]...)
	}
	whole := frameBytes(fr)
	if len(port.frames) == 1 {
		if len(port.frames[0]) != len(whole) {
			t.Fatalf("%d bytes became %d", len(whole), len(port.frames[0]))
		}
		return
	}
	g, ok := parseGSO(fr)
	if !ok {
		t.Fatalf("%d frames of one", len(port.frames))
	}
	want := whole[g.payload:]
	if fr.Offload.GSOType == GSOUDP {
		// The checksum has been filled in.
		field := g.l4 - g.payload + udpCsum
		copy(want[field:field+2], payload[field:])
	}
	if string(payload) != string(want) {
		t.Fatalf("the payload of %d bytes has become one of %d", len(want), len(payload))
	}
}

// payloadOffset returns the offset of the segmented part in b, which was made from fr.
func payloadOffset(t *testing.T, fr *Frame, port *repairPort, b []byte) int {
	t.Helper()
	g, ok := parseGSO(fr)
	if !ok || len(port.frames) == 1 {
		return 0
	}
	if len(b) <= g.payload {
		t.Fatalf("a segment of %d bytes, without payload", len(b))
	}
	if fr.Offload.GSOType == GSOUDP && g.v6 {
		return g.payload + fragmentLen
	}
	return g.payload
}
