package vhostuser_test

import (
	"testing"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// Offered returns the features that the front-end is offered.
func TestOfferedIsWhatTheFrontEndIsOffered(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	virtio, err := h.fe.GetU64(vhostuser.GetFeatures)
	h.must(err)
	proto, err := h.fe.GetU64(vhostuser.GetProtocolFeatures)
	h.must(err)
	f, p := h.dev.session.Load().Offered()
	if f != virtio || p != proto || f == 0 || p == 0 {
		t.Errorf("offered %#x, %#x; the front-end received %#x, %#x", f, p, virtio, proto)
	}
}

func TestChannelState(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, everyProto)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	s := h.dev.session.Load()
	if got := s.Channel(); got != vhostuser.ChannelNone {
		t.Errorf("state %d without a channel", got)
	}
	ch := h.openChannel()
	if got := s.Channel(); got != vhostuser.ChannelOpen {
		t.Errorf("state %d of an open channel", got)
	}
	ch.Close()
	s.ConfigChanged()
	for end := time.Now().Add(vhostusertest.Timeout); s.Channel() != vhostuser.ChannelClosed; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the channel is not reported closed")
		}
	}
}

func TestPageSizeOfMemory(t *testing.T) {
	h := serve(t, newDevice(2))
	h.negotiate(allVirtio, plainProto)
	if r := h.dev.session.Load().Snapshot().Regions[0]; r.PageSize != 4096 {
		t.Errorf("page size %d of a memfd", r.PageSize)
	}
}

func TestStatusBits(t *testing.T) {
	want := []vhostuser.Bit{{Number: 0, Name: "ACKNOWLEDGE"}, {Number: 2, Name: "DRIVER_OK"}, {Number: 5, Name: "bit 5"}, {Number: 7, Name: "FAILED"}}
	got := vhostuser.StatusBits(1<<0 | 1<<2 | 1<<5 | 1<<7)
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}
