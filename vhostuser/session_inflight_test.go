package vhostuser_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// getInflight asks for memory for descriptors in flight, which is closed at the end of the test.
func (h *harness) getInflight(queues, size int) *vhostusertest.Inflight {
	h.t.Helper()
	in, err := h.fe.GetInflight(queues, size)
	h.must(err)
	h.t.Cleanup(in.Close)
	return in
}

func TestMemoryForDescriptorsInFlight(t *testing.T) {
	h := serve(t, newDevice(4))
	h.must(h.fe.Handshake(allVirtio, plainProto))
	for _, c := range []struct {
		queues, size int
		want         uint64
	}{
		// Per queue 16 bytes, plus 16 for each descriptor, in units of 64.
		{1, 1, 64}, {2, 64, 2 * (16 + 16*64 + 48)}, {4, 32768, 4 * (16 + 16*32768 + 48)},
	} {
		in := h.getInflight(c.queues, c.size)
		if in.Size != c.want || in.Offset != 0 || int(in.NumQueues) != c.queues || int(in.QueueSize) != c.size {
			t.Errorf("got %+v, want %d bytes", in.Inflight, c.want)
		}
		h.must(h.fe.SetInflight(in))
		if st := h.dev.session.Load().Snapshot(); st.Inflight.Inflight != in.Inflight || st.Inflight.FD < 0 {
			t.Errorf("state is %+v", st.Inflight)
		}
	}
}

func TestMemoryForDescriptorsInFlightIsChecked(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	in := h.getInflight(2, 64)
	set := func(change func(in *vhostuser.Inflight)) error {
		bad := in.Inflight
		change(&bad)
		return h.fe.Do(vhostuser.SetInflightFD, bad.AppendTo(nil), in.FD)
	}
	for name, err := range map[string]error{
		"no queues":        set(func(in *vhostuser.Inflight) { in.NumQueues = 0 }),
		"too many queues":  set(func(in *vhostuser.Inflight) { in.NumQueues = 3 }),
		"empty queues":     set(func(in *vhostuser.Inflight) { in.QueueSize = 0 }),
		"endless queues":   set(func(in *vhostuser.Inflight) { in.QueueSize = 32769 }),
		"too small":        set(func(in *vhostuser.Inflight) { in.QueueSize = 128 }),
		"size 0":           set(func(in *vhostuser.Inflight) { in.Size = 0 }),
		"beyond the file":  set(func(in *vhostuser.Inflight) { in.Size += 8 }),
		"endless":          set(func(in *vhostuser.Inflight) { in.Size = 1<<64 - 1 }),
		"offset":           set(func(in *vhostuser.Inflight) { in.Offset = 64 }),
		"offset wraps":     set(func(in *vhostuser.Inflight) { in.Offset = -in.Size }),
		"offset unaligned": set(func(in *vhostuser.Inflight) { in.Offset = 1 }),
		"no file":          h.fe.Do(vhostuser.SetInflightFD, in.AppendTo(nil)),
		"no memory":        h.fe.Do(vhostuser.SetInflightFD, in.AppendTo(nil), eventFDs(t, 1)[0]),
	} {
		if !errors.Is(err, vhostusertest.ErrNack) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	if err := h.fe.SetInflight(in); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("while a ring is started: got %v, want a refusal", err)
	}
	pass(t, r)

	// The message has a specific reply, so a refusal cannot be sent by REPLY_ACK.
	ask := vhostuser.Inflight{NumQueues: 3, QueueSize: 64}
	h.must(h.fe.Send(vhostuser.GetInflightFD, 0, ask.AppendTo(nil)))
	h.endsWith(vhostuser.ErrRefused)
}

// The memory that the back-end makes cannot be truncated while it is in use.
func TestMemoryForDescriptorsInFlightIsSealed(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, plainProto))
	in := h.getInflight(2, 64)
	if err := unix.Ftruncate(in.FD, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncating it: %v", err)
	}
}

// A device that completes in any order dies with chains popped: its successor gets those chains,
// and no others, once more. The base that the front-end sends does not matter: QEMU knows the used
// index of split rings, but only the initial base of packed ones.
func TestChainsInFlightAreProcessedAfterACrash(t *testing.T) {
	for name, c := range map[string]struct {
		features    uint64
		stale, base uint32
	}{
		"split":         {allVirtio, 3, 105},
		"split, base 0": {allVirtio, 0, 105},
		"packed":        {allVirtio | packed, virtqueue.PackedStart, 105%64 | (105%64)<<16},
	} {
		t.Run(name, func(t *testing.T) {
			dev := newDevice(2)
			dev.hold = 2
			h := serve(t, dev)
			mem := h.negotiate(c.features, plainProto)
			in := h.getInflight(2, 64)
			h.must(h.fe.SetInflight(in))
			r := h.ring(mem, 0)
			for range 5 {
				offer(t, r)
			}
			h.must(h.fe.StartRing(r))
			for range 3 {
				expectUsed(t, r)
			}
			h.crash()
			h.must(h.fe.Handshake(c.features, plainProto))
			h.must(h.fe.ShareMemory())
			h.must(h.fe.SetInflight(in))
			h.must(h.fe.StartRingAt(r, c.stale))
			expectUsed(t, r)
			expectUsed(t, r)
			for range 100 {
				pass(t, r)
			}
			if base, err := h.fe.StopRing(r); err != nil || base != c.base {
				t.Errorf("base %#x, %v; want %#x", base, err, c.base)
			}
		})
	}
}

// A front-end that truncates the memory loses only its own session.
func TestMemoryForDescriptorsInFlightIsTruncated(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	in := h.getInflight(2, 64)
	file := h.more(int(in.Size))
	copied := *in
	copied.FD = file.FD
	h.must(h.fe.SetInflight(&copied))
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.must(file.Truncate(0))
	offer(t, r)
	h.must(r.Kick())
	h.endsWith(errGuestMemory)

	h.crash()
	h.must(h.fe.Handshake(allVirtio, plainProto))
	h.must(h.fe.SetMemTable(mem))
	file2 := h.more(int(in.Size))
	copied.FD = file2.FD
	h.must(h.fe.SetInflight(&copied))
	h.must(file2.Truncate(0))
	if err := h.fe.StartRing(r); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("got %v, want a refusal", err)
	}
}
