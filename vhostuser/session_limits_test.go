package vhostuser_test

import (
	"errors"
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// Indices have 8 bits in some messages: there are no more than 256 vrings.
func TestLastOfAllVrings(t *testing.T) {
	h := serve(t, newDevice(256))
	mem := h.negotiate(allVirtio, plainProto)
	for _, i := range []int{0, 127, 128, 254, 255} {
		r := h.ring(mem, i)
		h.must(h.fe.StartRing(r))
		pass(t, r)
	}
	h.refused(vhostuser.SetVringNum, state(256, 64))
	if base, err := h.fe.StopRing(&vhostusertest.Ring{Index: 255}); err != nil || base != 1 {
		t.Errorf("base %d, %v", base, err)
	}
}

func TestSmallestAndLargestRing(t *testing.T) {
	for _, size := range []int{2, 4, 32768} {
		h := serve(t, newDevice(2))
		mem := h.negotiate(allVirtio, plainProto)
		r, err := h.fe.NewRing(mem, 0, size, 1<<20)
		h.must(err)
		h.must(h.fe.StartRing(r))
		for range 100 {
			pass(t, r)
		}
	}
}

// A page that has to be fetched from the source of a migration would block a thread that works for
// other guests, too.
func TestPostcopyIsNotOffered(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	offered, err := h.fe.GetU64(vhostuser.GetProtocolFeatures)
	h.must(err)
	if offered&(1<<vhostuser.ProtocolFeaturePagefault) != 0 {
		t.Error("it is")
	}
	h.must(h.fe.Handshake(allVirtio, everyProto))
	h.refused(vhostuser.PostcopyListen, nil)
	h.must(h.fe.Send(vhostuser.PostcopyAdvise, vhostuser.FlagNeedReply, nil))
	h.endsWith(vhostuser.ErrNotNegotiated)
}

// QEMU gives up on a back-end that offers less than the previous one.
func TestOfferIsTheSameAfterReconnect(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	type offer struct{ features, protocol, queues, slots uint64 }
	ask := func() (o offer) {
		t.Helper()
		for r, v := range map[vhostuser.Request]*uint64{
			vhostuser.GetFeatures: &o.features, vhostuser.GetProtocolFeatures: &o.protocol,
			vhostuser.GetQueueNum: &o.queues, vhostuser.GetMaxMemSlots: &o.slots,
		} {
			n, err := h.fe.GetU64(r)
			h.must(err)
			*v = n
		}
		return o
	}
	mem := h.negotiate(allVirtio, everyProto)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	before := ask()
	h.crash()
	h.must(h.fe.Handshake(version1, memSlots))
	h.do(vhostuser.SetProtocolFeatures, u64(memSlots))
	if after := ask(); after != before {
		t.Errorf("offer is %+v, was %+v", after, before)
	}
}

// The specification's IOTLB messages belong to a feature that is not offered.
func TestIOTLBMessagesAreRefused(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio|1<<33, plainProto))
	if h.fe.Features&(1<<33) != 0 {
		t.Error("ACCESS_PLATFORM is offered")
	}
	h.must(h.fe.Send(vhostuser.IOTLBMsg, vhostuser.FlagNeedReply, make([]byte, 32)))
	if err := h.wait(); !errors.Is(err, vhostuser.ErrNotNegotiated) {
		t.Errorf("session ended with %v", err)
	}
}
