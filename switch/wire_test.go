package vswitch

import "testing"

// A frame counts as the frames and the bits that a port gets that accepts no offloads.
func TestFramesCountAsOnTheWire(t *testing.T) {
	check := func(t *testing.T, f *Frame) {
		t.Helper()
		if !checkOffload(f) {
			t.Fatalf("refused: %+v, %x", f.Offload, f.Head)
		}
		port := new(repairPort)
		if lost := new(repairer).transmit(port, []*Frame{f}); len(lost) > 0 {
			t.Fatalf("lost: %+v", lost)
		}
		n := 0
		for _, b := range port.frames {
			n += len(b)
		}
		if frames, bits := wireFrames(f), wireBits(f); int(frames) != len(port.frames) || int(bits) != 8*n {
			t.Fatalf("counts as %d frames of %d bits, is sent as %d of %d: %+v", frames, bits, len(port.frames), 8*n, f.Offload)
		}
	}
	allShapes(func(s packetShape) {
		t.Run(s.String(), func(t *testing.T) {
			rnd := newTestRand(uint64(s.kind))
			for range 20 {
				check(t, randomPacket(rnd, s).frame(rnd))
			}
		})
	})
	eachEncapsulation(t, func(t *testing.T, stack *envelopeStack, s packetShape, tags int) {
		f, _ := encapsulatedGSO(newTestRand(61), stack, s, tags)
		check(t, f)
	})
}
