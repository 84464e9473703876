package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// tooBig is the loss of the only frame that repair was given, because of the MTU.
var tooBig = losses{{stageRepair, DropTooBig, 1, 1}}

// A repairPort is a Port that keeps copies of its frames.
type repairPort struct {
	caps     Caps
	frames   [][]byte
	offloads []Offload
	batches  []int
}

func (p *repairPort) Caps() Caps { return p.caps }

func (p *repairPort) Transmit(frames []*Frame) int {
	p.batches = append(p.batches, len(frames))
	for _, f := range frames {
		b := frameBytes(f)
		if len(b) != f.Len {
			panic(fmt.Sprintf("Len is %d, but there are %d bytes", f.Len, len(b)))
		}
		p.frames = append(p.frames, b)
		p.offloads = append(p.offloads, f.Offload)
	}
	return len(frames)
}

// A frameState is the state of a frame that transmit must restore.
type frameState struct {
	bytes   []byte
	pieces  int
	offload Offload
}

func stateOf(f *Frame) frameState { return frameState{frameBytes(f), len(f.Body), f.Offload} }

func (s frameState) check(t *testing.T, f *Frame) {
	t.Helper()
	if !bytes.Equal(s.bytes, frameBytes(f)) || s.pieces != len(f.Body) || s.offload != f.Offload || f.Len != len(s.bytes) {
		t.Fatal("the frame is not as it was before")
	}
}

// allShapes calls run with all combinations of a packet's properties.
func allShapes(run func(s packetShape)) {
	for kind := range numKinds {
		for _, v6 := range []bool{false, true} {
			for tags := range 3 {
				run(packetShape{kind: kind, v6: v6, tags: tags, extensions: true, maxPayload: 65535, maxGSO: 9000})
			}
		}
	}
}

func (s packetShape) String() string {
	ip := "IPv4"
	if s.v6 {
		ip = "IPv6"
	}
	return fmt.Sprintf("%v-%s-%d-tags", s.kind, ip, s.tags)
}

func TestRepairAgreesWithReference(t *testing.T) {
	allShapes(func(s packetShape) {
		t.Run(s.String(), func(t *testing.T) {
			rnd := newTestRand(uint64(s.kind))
			r := new(repairer)
			for range 30 {
				p := randomPacket(rnd, s)
				f := p.frame(rnd)
				if !checkOffload(f) {
					t.Fatalf("refused: %+v, %x", p.offload, p.data[:p.end])
				}
				before := stateOf(f)
				port := new(repairPort)
				lost := r.transmit(port, []*Frame{f})
				before.check(t, f)
				if len(lost) > 0 {
					t.Fatalf("lost: %+v", lost)
				}
				compareFrames(t, port.frames, reference(p), s)
				for i, b := range port.frames {
					if port.offloads[i] != (Offload{}) {
						t.Fatalf("frame %d has %+v", i, port.offloads[i])
					}
					verifyByGopacket(t, b)
				}
				verifyDatagram(t, p, port.frames)
			}
		})
	})
}

// compareFrames compares the frames that repair has made with a reference, after setting the
// identification of IPv6 fragments to 0 in both.
func compareFrames(t *testing.T, got, want [][]byte, s packetShape) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	ids := make(map[string]bool)
	for i := range got {
		g := got[i]
		if s.kind == kindUFO && s.v6 {
			var id string
			g, id = clearFragmentID(g)
			ids[id] = true
		}
		if !bytes.Equal(g, want[i]) {
			j := 0
			for j < min(len(g), len(want[i])) && g[j] == want[i][j] {
				j++
			}
			t.Fatalf("frame %d of %d differs from byte %d on (%d and %d bytes):\n got %x\nwant %x",
				i, len(got), j, len(g), len(want[i]), g[:min(len(g), 150)], want[i][:min(len(want[i]), 150)])
		}
	}
	if len(ids) > 1 {
		t.Fatalf("fragments of one datagram with %d identifications", len(ids))
	}
}

// clearFragmentID returns a copy of b with the identification of an IPv6 fragment set to 0, and the
// identification; b itself if it is not a fragment.
func clearFragmentID(b []byte) (cleared []byte, id string) {
	h, ok := parseHeaders(b)
	if !ok || !h.v6 || !h.fragment {
		return b, ""
	}
	cleared = append([]byte(nil), b...)
	field := cleared[h.l4+4 : h.l4+8]
	id = string(field)
	clear(field)
	return cleared, id
}

// verifyByGopacket decodes a frame, and verifies the checksums of all layers and that no layer is
// truncated.
func verifyByGopacket(t *testing.T, b []byte) {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v\n%x", e.Error(), b[:min(len(b), 150)])
	}
	if p.Metadata().Truncated {
		t.Fatalf("gopacket: truncated\n%x", b[:min(len(b), 150)])
	}
	if p.Layer(gopacket.LayerTypeFragment) != nil {
		if err, wrong := p.VerifyChecksums(); err != nil || len(wrong) > 0 {
			t.Fatalf("gopacket: fragment: %v, %v", err, wrong)
		}
		return // the UDP checksum is the whole datagram's: see verifyDatagram
	}
	switch l4 := p.TransportLayer().(type) {
	case *layers.TCP:
		l4.SetNetworkLayerForChecksum(p.NetworkLayer())
	case *layers.UDP:
		l4.SetNetworkLayerForChecksum(p.NetworkLayer())
	default:
		t.Fatalf("gopacket: no transport layer in %v", p)
	}
	err, wrong := p.VerifyChecksums()
	if err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	for _, w := range wrong {
		t.Fatalf("gopacket: checksum of %v is %#x, should be %#x", w.Layer.LayerType(), w.Actual, w.Correct)
	}
}

// verifyDatagram reassembles the fragments of a UDP datagram and verifies the checksum.
func verifyDatagram(t *testing.T, p *testPacket, frames [][]byte) {
	t.Helper()
	if p.offload.GSOType != GSOUDP || len(frames) < 2 {
		return
	}
	headers := p.unfrag
	if p.v6 {
		headers += 8
	}
	whole := append([]byte(nil), p.data[:p.unfrag]...)
	for _, b := range frames {
		whole = append(whole, b[headers:]...)
	}
	verifyByGopacket(t, whole)
}

// A port that accepts all offloads gets all frames unchanged, in one Transmit.
func TestRepairPassesThroughWhatThePortTakes(t *testing.T) {
	rnd := newTestRand(10)
	var frames []*Frame
	var before []frameState
	allShapes(func(s packetShape) {
		f := randomPacket(rnd, s).frame(rnd)
		if !checkOffload(f) {
			t.Fatal(s, "refused")
		}
		frames = append(frames, f)
		before = append(before, stateOf(f))
	})
	port := &repairPort{caps: Caps{Csum: true, TSO4: true, TSO6: true, ECN: true, UFO: true, USO4: true, USO6: true}}
	new(repairer).transmit(port, frames)
	for i := range frames {
		before[i].check(t, frames[i])
		if !bytes.Equal(port.frames[i], before[i].bytes) || port.offloads[i] != before[i].offload {
			t.Fatalf("frame %d has changed", i)
		}
	}
	if !slices.Equal(port.batches, []int{len(frames)}) {
		t.Fatalf("batches of %d", port.batches)
	}
}

// Each offload is used: if a port accepts all offloads except one, only the frames that need that
// offload are repaired.
func TestRepairFollowsEachCapability(t *testing.T) {
	all := Caps{Csum: true, TSO4: true, TSO6: true, ECN: true, UFO: true, USO4: true, USO6: true}
	tests := []struct {
		name  string
		shape packetShape
		ecn   bool
		off   func(*Caps)
	}{
		{"TSO4", packetShape{kind: kindTSO}, false, func(c *Caps) { c.TSO4 = false }},
		{"TSO6", packetShape{kind: kindTSO, v6: true}, false, func(c *Caps) { c.TSO6 = false }},
		{"TSO4 with ECN", packetShape{kind: kindTSO}, true, func(c *Caps) { c.ECN = false }},
		{"TSO6 with ECN", packetShape{kind: kindTSO, v6: true}, true, func(c *Caps) { c.ECN = false }},
		{"TSO without checksums", packetShape{kind: kindTSO}, false, func(c *Caps) { c.Csum = false }},
		{"UFO, IPv4", packetShape{kind: kindUFO}, false, func(c *Caps) { c.UFO = false }},
		{"UFO, IPv6", packetShape{kind: kindUFO, v6: true}, false, func(c *Caps) { c.UFO = false }},
		{"USO4", packetShape{kind: kindUSO}, false, func(c *Caps) { c.USO4 = false }},
		{"USO6", packetShape{kind: kindUSO, v6: true}, false, func(c *Caps) { c.USO6 = false }},
		{"long GSO frames", packetShape{kind: kindTSO}, false, func(c *Caps) { c.MaxGS = 3000 }},
		{"checksums", packetShape{kind: kindUDPCsum}, false, func(c *Caps) { c.Csum = false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rnd := newTestRand(11)
			tt.shape.maxPayload, tt.shape.maxGSO = 60000, 1400
			p := randomPacket(rnd, tt.shape)
			for len(p.data) < 4000 || p.tcp && (p.offload.GSOType&GSOECN != 0) != tt.ecn {
				p = randomPacket(rnd, tt.shape)
			}
			f := p.frame(rnd)
			if !checkOffload(f) {
				t.Fatal("refused")
			}
			with := &repairPort{caps: all}
			new(repairer).transmit(with, []*Frame{f})
			if len(with.frames) != 1 || with.offloads[0] != f.Offload {
				t.Fatalf("repaired without need: %d frames, %+v", len(with.frames), with.offloads)
			}
			without := &repairPort{caps: all}
			tt.off(&without.caps)
			new(repairer).transmit(without, []*Frame{f})
			compareFrames(t, without.frames, reference(p), tt.shape)
		})
	}
}

// Linux drops a USO frame of more than 128 segments. So no port gets such a frame.
func TestRepairSegmentsUSOThatLinuxWouldDrop(t *testing.T) {
	for _, segments := range []int{128, 129} {
		rnd := newTestRand(24)
		p := randomPacket(rnd, packetShape{kind: kindUSO, maxPayload: 1, maxGSO: 20})
		p.data = append(p.data[:p.end], randomBytes(rnd, segments*100)...)
		p.setLengths()
		p.offload.GSOSize = 100
		f := p.frame(rnd)
		if !checkOffload(f) {
			t.Fatal("refused")
		}
		port := &repairPort{caps: Caps{Csum: true, USO4: true}}
		new(repairer).transmit(port, []*Frame{f})
		if whole := len(port.frames) == 1; whole != (segments <= 128) {
			t.Errorf("%d segments: %d frames", segments, len(port.frames))
		}
	}
}

// Frames of all kinds go to ports of all kinds, one port after the other, as in a flood: order is
// kept, batches are full and not too long, and repair for one port does not affect the frames for
// the next.
func TestRepairKeepsOrderInAFlood(t *testing.T) {
	rnd := newTestRand(12)
	r := new(repairer)
	for range 20 {
		var frames []*Frame
		var before []frameState
		var want [][]byte
		for range MaxBatch {
			s := packetShape{kind: packetKind(rnd.IntN(int(numKinds))), tags: rnd.IntN(3), extensions: true, maxPayload: 20000, maxGSO: 3000}
			p := randomPacket(rnd, s)
			f := p.frame(rnd)
			if !checkOffload(f) {
				t.Fatal("refused")
			}
			if rnd.IntN(4) == 0 {
				f.Offload = Offload{}
				want = append(want, p.data)
			} else {
				want = append(want, reference(p)...)
			}
			frames, before = append(frames, f), append(before, stateOf(f))
		}
		for range 2 {
			none := new(repairPort)
			lost := slices.Clone(r.transmit(none, frames))
			compareFrames(t, none.frames, want, packetShape{})
			for i, n := range none.batches {
				if n != MaxBatch && i < len(none.batches)-1 || n > MaxBatch || n == 0 {
					t.Fatalf("batches of %d", none.batches)
				}
			}
			for i, f := range frames {
				before[i].check(t, f)
			}
			some := &repairPort{caps: Caps{Csum: true, TSO4: true, ECN: true}}
			if more := r.transmit(some, frames); len(lost)+len(more) > 0 {
				t.Fatalf("lost %+v and %+v", lost, more)
			}
			if len(some.frames) <= len(frames) || len(some.frames) >= len(none.frames) {
				t.Fatalf("%d frames from %d, %d for a port without offloads", len(some.frames), len(frames), len(none.frames))
			}
		}
	}
}

// Only ports with Csum get HdrDataValid.
func TestRepairTakesDataValidAway(t *testing.T) {
	rnd := newTestRand(13)
	f := newTestFrame(rnd, randomBytes(rnd, 300), Offload{Flags: HdrDataValid}, 0)
	for _, csum := range []bool{false, true} {
		port := &repairPort{caps: Caps{Csum: csum}}
		new(repairer).transmit(port, []*Frame{f})
		if got := port.offloads[0].Flags != 0; got != csum {
			t.Errorf("Csum %t: flags %d", csum, port.offloads[0].Flags)
		}
		if f.Offload.Flags != HdrDataValid {
			t.Fatal("the frame has changed")
		}
	}
}

// No frame is longer than the MTU, whatever offloads the port accepts; tags do not count.
func TestRepairNeverExceedsTheMTU(t *testing.T) {
	rnd := newTestRand(14)
	r := new(repairer)
	sent, dropped := 0, 0
	for range 40 {
		allShapes(func(s packetShape) {
			s.maxPayload, s.maxGSO = 1+rnd.IntN(5000), 1800
			p := randomPacket(rnd, s)
			f := p.frame(rnd)
			if !checkOffload(f) {
				t.Fatal("refused")
			}
			for _, takes := range []bool{false, true} {
				port := &repairPort{caps: Caps{Csum: takes, TSO4: takes, TSO6: takes, ECN: takes, UFO: takes, USO4: takes, USO6: takes, MTU: 1500}}
				lost := r.transmit(port, []*Frame{f})
				longest := 0
				for _, b := range reference(p) {
					longest = max(longest, len(b)-p.l3)
				}
				switch {
				case len(lost) == 0 && len(port.frames) > 0 && longest <= 1500:
					sent++
				case slices.Equal(lost, tooBig) && len(port.frames) == 0 && longest > 1500:
					dropped++
				default:
					t.Fatalf("%v: lost %+v, %d frames, the longest %d bytes", s, lost, len(port.frames), longest)
				}
			}
		})
	}
	if sent < 100 || dropped < 100 {
		t.Fatalf("%d sent, %d dropped: the test needs both", sent, dropped)
	}
}

// A frame of the greatest length is sent, with three tags as well; a frame that is one byte longer
// is not.
func TestRepairCountsTheMTUBehindTheTags(t *testing.T) {
	rnd := newTestRand(15)
	for tags := range MaxTags + 1 {
		for _, more := range []int{0, 1} {
			p := &testPacket{}
			p.addEthernet(rnd, packetShape{tags: tags})
			p.data = append(p.data, make([]byte, 1500+more)...)
			port := &repairPort{caps: Caps{MTU: 1500}}
			lost := new(repairer).transmit(port, []*Frame{newTestFrame(rnd, p.data, Offload{}, 0)})
			if len(port.frames) != 1-more || !slices.Equal(lost, tooBig[:more]) {
				t.Errorf("%d tags, 1500+%d bytes: %d frames, lost %+v", tags, more, len(port.frames), lost)
			}
		}
	}
}

// Tags that are pushed and popped after the check move all offsets.
func TestRepairAfterTagsHaveChanged(t *testing.T) {
	rnd := newTestRand(16)
	for kind := range numKinds {
		p := randomPacket(rnd, packetShape{kind: kind, extensions: true, maxPayload: 9000, maxGSO: 1400})
		f := p.frame(rnd)
		if !checkOffload(f) {
			t.Fatal("refused")
		}
		tag := []byte{0x81, 0, 0x20, 0x07, 0x81, 0, 0, 9}
		f.Head = f.Room
		copy(f.Head, f.Head[8:20])
		copy(f.Head[12:], tag)
		f.Len += 8
		f.Offload.CsumStart += 8
		if f.Offload.GSOType != GSONone {
			f.Offload.HdrLen += 8
		}
		port := new(repairPort)
		new(repairer).transmit(port, []*Frame{f})
		want := reference(p)
		for i := range want {
			want[i] = slices.Insert(want[i], 12, tag...)
		}
		compareFrames(t, port.frames, want, packetShape{})
	}
}

// In UFO over IPv6, destination options behind a routing header belong to the part that is
// fragmented.
func TestRepairFragmentsBehindARoutingHeader(t *testing.T) {
	rnd := newTestRand(17)
	p := &testPacket{v6: true}
	p.addEthernet(rnd, packetShape{v6: true})
	p.addIPv6(rnd, packetShape{})
	p.addExtension(protoRouting, 8)
	unfrag, next := p.unfrag, p.next
	p.addExtension(protoDestOpts, 16)
	p.unfrag, p.next, p.l4 = unfrag, next, len(p.data)
	p.addTransport(rnd)
	p.data = append(p.data, randomBytes(rnd, 3000)...)
	p.setLengths()
	p.offload = Offload{Flags: HdrNeedsCsum, GSOType: GSOUDP, GSOSize: 1000, CsumStart: uint16(p.l4), CsumOffset: 6}
	f := p.frame(rnd)
	if !checkOffload(f) {
		t.Fatal("refused")
	}
	port := new(repairPort)
	new(repairer).transmit(port, []*Frame{f})
	compareFrames(t, port.frames, reference(p), packetShape{kind: kindUFO, v6: true})
}

// A checksum of 0 is sent as 0xffff: 0 means no checksum in UDP.
func TestRepairSendsNoZeroChecksum(t *testing.T) {
	rnd := newTestRand(18)
	for _, kind := range []packetKind{kindUDPCsum, kindUSO, kindUFO} {
		p := randomPacket(rnd, packetShape{kind: kind, maxPayload: 1000, maxGSO: 1400})
		p.data = append(p.data[:p.end], make([]byte, 800)...)
		p.setLengths()
		p.offload.GSOSize = 400 // ignored for plain checksums
		if kind == kindUDPCsum {
			p.offload.GSOSize = 0
		}
		// Choose the payload's first word such that the (first) checksum is 0.
		want := reference(p)
		csum := binary.BigEndian.Uint16(want[0][p.l4+6:])
		binary.BigEndian.PutUint16(p.data[p.end:], csum)
		f := p.frame(rnd)
		if !checkOffload(f) {
			t.Fatal("refused")
		}
		port := new(repairPort)
		new(repairer).transmit(port, []*Frame{f})
		if got := binary.BigEndian.Uint16(port.frames[0][p.l4+6:]); got != 0xffff {
			t.Errorf("%v: %#x", kind, got)
		}
		compareFrames(t, port.frames, reference(p), packetShape{})
	}
}

// After a Transmit has panicked, as it does on memory that has vanished, the repairer still works.
func TestRepairAfterAPanicInTransmit(t *testing.T) {
	rnd := newTestRand(19)
	r := new(repairer)
	p := randomPacket(rnd, packetShape{kind: kindTSO, maxPayload: 60000, maxGSO: 1400})
	f := p.frame(rnd)
	if !checkOffload(f) {
		t.Fatal("refused")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("no panic")
			}
		}()
		r.transmit(panickingPort{}, []*Frame{f})
	}()
	port := new(repairPort)
	r.transmit(port, []*Frame{f})
	compareFrames(t, port.frames, reference(p), packetShape{})
}

// If a guest rewrites a payload during the delivery, only the checksums are wrong: all other header
// fields are the same.
func TestRepairOfAPayloadThatChangesMeanwhile(t *testing.T) {
	rnd := newTestRand(25)
	for _, kind := range []packetKind{kindTSO, kindUSO, kindUFO} {
		p := hostileBase(packetShape{kind: kind})
		p.offload.GSOSize = 40
		f := p.frame(rnd)
		if !checkOffload(f) {
			t.Fatal("refused")
		}
		port := &scribblingPort{body: f.Body}
		new(repairer).transmit(port, []*Frame{f})
		want := reference(p)
		if len(port.frames) != len(want) || len(want) < 2*MaxBatch {
			t.Fatalf("%v: %d frames, want %d", kind, len(port.frames), len(want))
		}
		for i, b := range port.frames {
			if len(b) != len(want[i]) {
				t.Fatalf("%v: frame %d has %d bytes, want %d", kind, i, len(b), len(want[i]))
			}
			end := p.end
			if kind == kindUFO {
				end = p.unfrag
			} else {
				csum := p.l4 + p.csumOffset()
				copy(b[csum:csum+2], want[i][csum:])
			}
			if !bytes.Equal(b[:end], want[i][:end]) {
				t.Fatalf("%v: headers of frame %d:\n got %x\nwant %x", kind, i, b[:end], want[i][:end])
			}
		}
	}
}

// A scribblingPort is a repairPort with a sender that overwrites its frame during each Transmit.
type scribblingPort struct {
	repairPort
	body [][]byte
}

func (p *scribblingPort) Transmit(frames []*Frame) int {
	n := p.repairPort.Transmit(frames)
	for _, b := range p.body {
		for i := range b {
			b[i] ^= 0x5a
		}
	}
	return n
}

type panickingPort struct{ Port }

func (panickingPort) Caps() Caps            { return Caps{} }
func (panickingPort) Transmit([]*Frame) int { panic("gone") }

// A discardPort takes frames and does nothing.
type discardPort struct{ caps Caps }

func (p *discardPort) Caps() Caps                   { return p.caps }
func (p *discardPort) Transmit(frames []*Frame) int { return len(frames) }

func TestRepairDoesNotAllocate(t *testing.T) {
	var frames []*Frame
	rnd := newTestRand(20)
	allShapes(func(s packetShape) {
		f := randomPacket(rnd, s).frame(rnd)
		if !checkOffload(f) {
			t.Fatal("refused")
		}
		frames = append(frames, f)
	})
	r := new(repairer)
	for _, port := range []*discardPort{{}, {Caps{Csum: true, MTU: 1500}}} {
		r.transmit(port, frames)
		if n := testing.AllocsPerRun(20, func() { r.transmit(port, frames) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	if n := testing.AllocsPerRun(20, func() {
		for _, f := range frames {
			checkOffload(f)
		}
	}); n != 0 {
		t.Errorf("%v allocations in checkOffload", n)
	}
}

// A repairer that has repaired no frame has allocated no workbench.
func TestRepairerIsSmallUntilItIsNeeded(t *testing.T) {
	rnd := newTestRand(21)
	r := new(repairer)
	f := newTestFrame(rnd, randomBytes(rnd, 1514), Offload{}, 0)
	r.transmit(&discardPort{Caps{MTU: 1500}}, []*Frame{f})
	if r.work != nil {
		t.Fatal("has a workbench")
	}
}

func BenchmarkRepair(b *testing.B) {
	tests := []struct {
		name  string
		shape packetShape
		size  int
		gso   uint16
		caps  Caps
	}{
		{"TSO4-64KiB-to-1448", packetShape{kind: kindTSO}, 65000, 1448, Caps{}},
		{"TSO6-64KiB-to-1428", packetShape{kind: kindTSO, v6: true}, 65000, 1428, Caps{}},
		{"USO4-64KiB-to-1472", packetShape{kind: kindUSO}, 65000, 1472, Caps{}},
		{"UFO4-64KiB-to-1480", packetShape{kind: kindUFO}, 65000, 1480, Caps{}},
		{"TCP-checksum-1500", packetShape{kind: kindTCPCsum}, 1400, 0, Caps{}},
		{"TCP-checksum-64KiB", packetShape{kind: kindTCPCsum}, 65000, 0, Caps{}},
		{"TSO4-64KiB-as-is", packetShape{kind: kindTSO}, 65000, 1448, Caps{Csum: true, TSO4: true, ECN: true}},
		{"plain-1500", packetShape{kind: kindTCPCsum}, 1400, 0, Caps{Csum: true}},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			rnd := newTestRand(22)
			tt.shape.maxPayload, tt.shape.maxGSO = 100, 100
			p := randomPacket(rnd, tt.shape)
			p.data = append(p.data[:p.end], randomBytes(rnd, tt.size)...)
			p.setLengths()
			p.offload.GSOSize, p.offload.HdrLen = tt.gso, 0
			f := p.frame(rnd)
			f.Body = nil // pieces of at most 32 KiB, as from a Linux guest
			for rest := p.data[len(f.Head):]; len(rest) > 0; {
				n := min(len(rest), 32768)
				f.Body = append(f.Body, rest[:n])
				rest = rest[n:]
			}
			if !checkOffload(f) {
				b.Fatal("refused")
			}
			r := new(repairer)
			port := &discardPort{tt.caps}
			frames := []*Frame{f}
			var lost losses
			b.SetBytes(int64(f.Len))
			b.ReportAllocs()
			for b.Loop() {
				lost = r.transmit(port, frames)
			}
			if len(lost) > 0 {
				b.Fatalf("lost %+v", lost)
			}
		})
	}
}

func BenchmarkCheckOffload(b *testing.B) {
	rnd := rand.New(rand.NewPCG(23, 0))
	allShapes(func(s packetShape) {
		if s.tags == 2 {
			return
		}
		f := randomPacket(rnd, s).frame(rnd)
		b.Run(s.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !checkOffload(f) {
					b.Fatal("refused")
				}
			}
		})
	})
}
