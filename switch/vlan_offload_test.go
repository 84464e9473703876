package vswitch

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// tunnelAndTrunk makes a switch with a tunnel port, a trunk, and an inlet of each.
func tunnelAndTrunk(t *testing.T, trunkCaps, tunnelCaps Caps) (trunk, tunnel *repairPort, fromTunnel, fromTrunk *Inlet) {
	t.Helper()
	s := newSwitch(Config{})
	attach := func(name string, caps Caps, mode VLANMode) (*repairPort, *Inlet) {
		c, p := DefaultPortConfig(name), &repairPort{caps: caps}
		if c.VLANMode = mode; mode == VLANTunnel {
			c.Tag, c.Priority = 5, 3
		}
		a, err := s.Attach(c, p)
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		return p, a.NewInlet()
	}
	trunk, fromTrunk = attach("trunk", trunkCaps, VLANTrunk)
	tunnel, fromTunnel = attach("tunnel", tunnelCaps, VLANTunnel)
	return trunk, tunnel, fromTunnel, fromTrunk
}

var everything = Caps{Csum: true, TSO4: true, TSO6: true, ECN: true, UFO: true, USO4: true, USO6: true}

// An outer tag is put on and taken off with what a frame asks for: behind up to two tags of the
// customer's, checksums are filled in and frames segmented, with the outer tag on each segment, or
// left to the port with the right offsets.
func TestTunnelKeepsOffloads(t *testing.T) {
	rnd := newTestRand(31)
	outer := []byte{0x88, 0xa8, 0x60, 5}
	for i := range 20 {
		allShapes(func(s packetShape) {
			s.maxPayload, s.maxGSO = 60000, 1400
			p := randomPacket(rnd, s)
			name := fmt.Sprintf("%d: %v, IPv6 %v, %d tags", i, s.kind, s.v6, s.tags)
			trunk, tunnel, fromTunnel, fromTrunk := tunnelAndTrunk(t, Caps{}, Caps{})
			want := reference(p)
			with := make([][]byte, len(want))
			for i := range want {
				with[i] = slices.Insert(slices.Clone(want[i]), macsLen, outer...)
			}
			fromTunnel.Deliver([]Frame{*p.frame(rnd)})
			t.Log(name)
			compareFrames(t, trunk.frames, with, s)

			// The other way, with the outer tag before those that the packet has.
			back := *p
			back.data = slices.Insert(slices.Clone(p.data), macsLen, outer...)
			back.end += vlanTagLen
			back.offload.CsumStart += vlanTagLen
			if s.tags < MaxTags-1 {
				fromTrunk.Deliver([]Frame{*back.frame(rnd)})
				compareFrames(t, tunnel.frames, want, s)
			}

			// Ports that take everything get the frame whole.
			trunk, _, fromTunnel, _ = tunnelAndTrunk(t, everything, everything)
			f := p.frame(rnd)
			was := *f
			if !checkOffload(&was) {
				t.Fatal("the test's packet is refused")
			}
			fromTunnel.Deliver([]Frame{*f})
			if len(trunk.frames) > 1 && s.kind == kindUSO {
				return // more segments than a guest takes
			}
			o := was.Offload
			o.CsumStart += vlanTagLen
			if o.HdrLen != 0 {
				o.HdrLen += vlanTagLen
			}
			if len(trunk.frames) != 1 || !bytes.Equal(trunk.frames[0], back.data) || trunk.offloads[0] != o {
				t.Fatalf("%d frames, %+v, want one, %+v", len(trunk.frames), trunk.offloads, o)
			}
		})
	}
}

// A frame with three tags whose segmentation is asked for is refused, since a tunnel would add
// another. Without an outer tag it is short enough.
func TestThreeTagsAreNotSegmented(t *testing.T) {
	rnd := newTestRand(32)
	p := randomPacket(rnd, packetShape{kind: kindTSO, tags: MaxTags, maxPayload: 60000, maxGSO: 100})
	for len(p.data) < 1000 {
		p = randomPacket(rnd, packetShape{kind: kindTSO, tags: MaxTags, maxPayload: 60000, maxGSO: 100})
	}
	trunk, tunnel, fromTunnel, fromTrunk := tunnelAndTrunk(t, Caps{}, Caps{})
	fromTunnel.Deliver([]Frame{*p.frame(rnd)})
	fromTrunk.Deliver([]Frame{*p.frame(rnd)})
	if len(trunk.frames)+len(tunnel.frames) != 0 {
		t.Errorf("%d and %d frames", len(trunk.frames), len(tunnel.frames))
	}
	if n := fromTunnel.counters.Drops(DropBadOffload); n != 1 {
		t.Errorf("%d frames dropped at their port", n)
	}
}

// The MTU does not count tags: a full frame with two tags of the customer's leaves with the outer
// tag, one that is longer by a byte does not.
func TestTunnelMTU(t *testing.T) {
	for tags := range MaxTags {
		for _, more := range []int{0, 1} {
			trunk, _, fromTunnel, _ := tunnelAndTrunk(t, Caps{MTU: 1500}, Caps{MTU: 1500})
			rnd := newTestRand(uint64(tags))
			p := &testPacket{}
			p.addEthernet(rnd, packetShape{tags: tags})
			p.data = append(p.data, make([]byte, 1500+more)...)
			fromTunnel.Deliver([]Frame{*newTestFrame(rnd, p.data, Offload{}, 0)})
			if len(trunk.frames) != 1-more {
				t.Errorf("%d tags, 1500+%d bytes: %d frames", tags, more, len(trunk.frames))
			}
		}
	}
}
