package vhostuser_test

import (
	"strings"
	"testing"

	"vswitchd/vhostuser"
)

// Features that the device or this package does not implement are not offered, whatever the
// device asks for.
func TestOnlyWhatWorksIsOffered(t *testing.T) {
	for name, c := range map[string]struct {
		h     *harness
		proto uint64
	}{
		"device without hooks":    {serve(t, newDevice(2)), plainProto},
		"device with all of them": {serveFull(t, newFullDevice(2)), everyProto},
	} {
		features, err := c.h.fe.GetU64(vhostuser.GetFeatures)
		c.h.must(err)
		if want := uint64(version1 | eventIdx | packed | inOrder | protocol | logAll); features != want {
			t.Errorf("%s: features %#x, want %#x", name, features, want)
		}
		proto, err := c.h.fe.GetU64(vhostuser.GetProtocolFeatures)
		c.h.must(err)
		if proto != c.proto {
			t.Errorf("%s: protocol features %v, want %v", name, vhostuser.ProtocolFeatureNames(proto), vhostuser.ProtocolFeatureNames(c.proto))
		}
		if n, err := c.h.fe.GetU64(vhostuser.GetQueueNum); err != nil || n != 1 {
			t.Errorf("%s: GET_QUEUE_NUM: %d, %v", name, n, err) // MQ was only offered
		}
	}
}

func TestMemorySlots(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	if n, err := h.fe.GetU64(vhostuser.GetMaxMemSlots); err != nil || n != 509 {
		t.Errorf("GET_MAX_MEM_SLOTS: %d, %v", n, err)
	}
}

func TestFeaturesThatWereNotOffered(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	h.refused(vhostuser.SetFeatures, u64(allVirtio|1<<33))
	h.refused(vhostuser.SetProtocolFeatures, u64(allProto|1<<vhostuser.ProtocolFeaturePagefault))
	if st := h.dev.session.Load().Snapshot(); st.Features != allVirtio || st.ProtocolFeatures != allProto || !st.Owned {
		t.Errorf("state %+v", st)
	}
}

func TestReplyAckWithoutGetProtocolFeatures(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Send(vhostuser.SetProtocolFeatures, 0, u64(replyAck)))
	h.fe.ProtocolFeatures = replyAck
	h.do(vhostuser.SetOwner, nil)
	h.refused(vhostuser.SetVringNum, state(0, 3))
}

func TestNeedReplyWithoutReplyAck(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Send(vhostuser.SetOwner, vhostuser.FlagNeedReply, nil))
	if _, err := h.fe.GetU64(vhostuser.GetFeatures); err != nil {
		t.Error("received a reply that was not requested:", err)
	}
}

func TestNeedReplyToMessageWithReply(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	h.must(h.fe.Send(vhostuser.GetFeatures, vhostuser.FlagNeedReply, nil))
	m, err := h.fe.Recv()
	h.must(err)
	if m.Request != vhostuser.GetFeatures || m.Size != 8 {
		t.Errorf("reply %+v", m.Header)
	}
	h.do(vhostuser.SetOwner, nil) // fails if there was a second reply
}

func TestSetFeaturesLeavesRunningRingsAlone(t *testing.T) {
	// QEMU starts queue pairs one after another and sends SET_FEATURES for each.
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	before := h.dev.events.String()
	h.do(vhostuser.SetFeatures, u64(allVirtio))
	h.refused(vhostuser.SetFeatures, u64(allVirtio&^eventIdx))
	h.refused(vhostuser.SetFeatures, u64(0))
	if after := h.dev.events.String(); after != before {
		t.Errorf("device has seen %s", strings.TrimPrefix(after, before))
	}
	pass(t, r)

	// The features of a stopped ring can change.
	base, err := h.fe.StopRing(r)
	h.must(err)
	h.do(vhostuser.SetFeatures, u64(allVirtio&^eventIdx))
	h.do(vhostuser.SetFeatures, u64(allVirtio))
	h.must(h.fe.StartRingAt(r, base))
	pass(t, r)
}

func TestResetOwnerIsIgnored(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	h.do(vhostuser.ResetOwner, nil)
	pass(t, r)
}
