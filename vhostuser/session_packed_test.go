package vhostuser_test

import (
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// packedRing makes a packed ring.
func (h *harness) packedRing(mem *vhostusertest.Memory, index, size int) *vhostusertest.Ring {
	h.t.Helper()
	r, err := h.fe.NewRing(mem, index, size, 1<<20)
	h.must(err)
	return r
}

// The size of a packed ring need not be a power of two.
func TestPackedRings(t *testing.T) {
	for _, features := range []uint64{allVirtio | packed, version1 | packed | protocol, allVirtio | packed | inOrder} {
		for _, size := range []int{2, 3, 7, 100, 256, 32767, 32768} {
			h := serve(t, newDevice(2))
			mem := h.negotiate(features, plainProto)
			r := h.packedRing(mem, 1, size)
			h.must(h.fe.StartRing(r))
			for range 2*min(size, 100) + 1 {
				pass(t, r)
			}
		}
	}
}

// Bits 0 to 15 of the base are the position to pop from, with a wrap counter, and bits 16 to 31 the
// same for the next used descriptor. Front-ends send bases with different halves.
func TestBaseOfPackedRing(t *testing.T) {
	const size = 5
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio|packed, plainProto)
	r := h.packedRing(mem, 0, size)
	h.must(h.fe.StartRingAt(r, 1<<15)) // as DPDK's virtio-user does
	place, wrap := uint32(0), uint32(1)
	for i := range 40 {
		n := uint32(i % 3)
		for range n {
			pass(t, r)
		}
		if place += n; place >= size {
			place, wrap = place-size, wrap^1
		}
		base, err := h.fe.StopRing(r)
		h.must(err)
		half := place | wrap<<15
		if base != half|half<<16 {
			t.Fatalf("base %#x, want %#x in each half", base, half)
		}
		if i%2 == 0 {
			base = half // like back-ends that know only one half
		}
		h.must(h.fe.StartRingAt(r, base))
	}
}

func TestBaseOutsidePackedRingIsRefused(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio|packed, plainProto)
	r := h.packedRing(mem, 0, 5)
	h.do(vhostuser.SetVringNum, state(0, 5))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
	for _, base := range []uint32{5 | 1<<15, 5<<16 | 1<<31, 0x7fff7fff, 1<<32 - 1} {
		h.do(vhostuser.SetVringBase, state(0, base))
		h.refused(vhostuser.SetVringKick, file(0), r.KickFD)
	}
	h.must(h.fe.StartRingAt(r, virtqueue.PackedStart))
	pass(t, r)
}

func TestLoggingOfPackedRing(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio|packed, plainProto)
	r := h.packedRing(mem, 0, 100)
	h.must(h.fe.StartRing(r))
	l := h.newLog(endOfMemory, 0)
	h.must(h.fe.SetLogBase(l))
	h.must(h.fe.LogAll(true))
	h.marked(l, r, false, h.passLogged(r)...)
	h.must(h.fe.LogRing(r, true))
	h.marked(l, r, true, h.passLogged(r)...)
}
