package vhostuser_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// openChannel opens a channel that is closed at the end of the test, before the session's
// descriptors are counted.
func (h *harness) openChannel() *vhostusertest.Channel {
	h.t.Helper()
	c, err := h.fe.OpenChannel()
	h.must(err)
	h.t.Cleanup(c.Close)
	return c
}

func TestConfigChangeIsSentToFrontEnd(t *testing.T) {
	for name, c := range map[string]struct {
		proto uint64
		acks  bool
	}{
		"with replies":    {everyProto, true},
		"without replies": {config | backReq, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := serveFull(t, newFullDevice(2))
			mem := h.negotiate(allVirtio, c.proto)
			session := h.dev.session.Load()
			h.must(h.fe.StartRing(h.ring(mem, 0)))
			session.ConfigChanged() // there is no channel yet
			ch := h.openChannel()
			for range 3 {
				session.ConfigChanged()
				r, m, err := ch.Recv()
				h.must(err)
				if r != vhostuser.BackendConfigChangeMsg || m.Size != 0 || m.Flags&vhostuser.FlagNeedReply != 0 != c.acks {
					t.Errorf("got %v with flags %#x and %d bytes", r, m.Flags, m.Size)
				}
				if c.acks {
					h.must(ch.Reply(r, 0))
				}
			}
		})
	}
}

// "While all vrings are stopped, the device is suspended. [...] the device must: [...] not send any
// notifications to the guest, not send any messages to the front-end".
func TestSuspendedDeviceSendsNothing(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, everyProto)
	ch := h.openChannel()
	session := h.dev.session.Load()
	heard := func(what string, want ...vhostuser.BackendRequest) {
		t.Helper()
		for _, want := range want {
			r, _, err := ch.Recv()
			h.must(err)
			if r != want {
				t.Errorf("%s: got %v, want %v", what, r, want)
			}
			h.must(ch.Reply(r, 0))
		}
		if !ch.Silent(20 * time.Millisecond) {
			t.Errorf("%s: there was a message", what)
		}
	}
	session.ConfigChanged()
	session.ConfigChanged()
	heard("before the first start")
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	heard("started", vhostuser.BackendConfigChangeMsg)
	base, err := h.fe.StopRing(r)
	h.must(err)
	session.ConfigChanged()
	heard("stopped")
	h.must(h.fe.StartRingAt(r, base))
	heard("started again", vhostuser.BackendConfigChangeMsg)
	session.ConfigChanged()
	heard("changed while it runs", vhostuser.BackendConfigChangeMsg)

	// Signals of a stopped ring without an eventfd are not sent later either.
	other := h.ring(mem, 1)
	h.do(vhostuser.SetVringNum, state(1, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(1, other.Driver.Config()).AppendTo(nil))
	h.do(vhostuser.VringKick, state(1, 0))
	heard("in-band", vhostuser.BackendVringCall)
	for _, r := range []*vhostusertest.Ring{r, other} {
		_, err := h.fe.StopRing(r)
		h.must(err)
	}
	ch = h.openChannel()
	heard("another channel")
}

func TestConfigChangeIsNotSentWithoutConfig(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, backReq|replyAck)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	ch := h.openChannel()
	h.dev.session.Load().ConfigChanged()
	if !ch.Silent(20 * time.Millisecond) {
		t.Error("there was a message")
	}
}

// A front-end that never reads from its channel, or never replies, affects no other session.
func TestChannelThatNobodyServesDoesNotHoldUpTheSession(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, everyProto)
	_ = h.openChannel()
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	session := h.dev.session.Load()
	for range 1000 {
		session.ConfigChanged()
	}
	pass(t, r)
	_ = h.openChannel() // replaces the one that is stuck
	session.ConfigChanged()
	h.must(h.fe.RemoveMemory(mem))
}

func TestChannelWhoseOtherEndIsClosed(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, everyProto)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	h.openChannel().Close()
	for range 10 {
		h.dev.session.Load().ConfigChanged()
		h.do(vhostuser.SetOwner, nil)
	}
	ch := h.openChannel()
	h.dev.session.Load().ConfigChanged()
	if _, _, err := ch.Recv(); err != nil {
		t.Error(err)
	}
}

func TestChannelIsAUnixStreamSocket(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	h.must(h.fe.Handshake(allVirtio, everyProto))
	inet, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	h.must(err)
	defer unix.Close(inet)
	dgram, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	h.must(err)
	defer unix.Close(dgram)
	for _, fd := range []int{eventFDs(t, 1)[0], inet, dgram} {
		h.refused(vhostuser.SetBackendReqFD, nil, fd)
	}
	h.refused(vhostuser.SetBackendReqFD, nil)
	if st := h.dev.session.Load().Snapshot(); st.BackendFD != -1 {
		t.Errorf("channel is %d", st.BackendFD)
	}
}

// A ring without any eventfd from the front-end.
func TestInbandNotifications(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	ch := h.openChannel()
	calls := make(chan uint32, 1000)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = ch.Serve(func(r vhostuser.BackendRequest, payload []byte) {
			if r == vhostuser.BackendVringCall {
				calls <- vhostuser.DecodeVringState(payload).Index
			}
		})
	}()
	r := h.ring(mem, 1)
	h.do(vhostuser.SetVringEnable, state(1, 1))
	h.refused(vhostuser.VringKick, state(1, 0)) // no size, no address
	h.do(vhostuser.SetVringNum, state(1, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(1, r.Driver.Config()).AppendTo(nil))
	h.refused(vhostuser.VringKick, state(1, 1))
	h.refused(vhostuser.VringKick, state(7, 0))
	for range 50 {
		offer(t, r)
		h.do(vhostuser.VringKick, state(1, 0))
		for {
			if head, _, ok := r.Driver.PollUsed(); ok {
				r.Driver.Release(head)
				break
			}
			if r.Driver.Arm() {
				continue
			}
			select {
			case i := <-calls:
				if i != 1 {
					t.Errorf("call for ring %d", i)
				}
			case <-time.After(vhostusertest.Timeout):
				t.Fatal("no call")
			}
		}
	}
	base, err := h.fe.StopRing(r)
	h.must(err)
	if base != 50 {
		t.Errorf("base %d", base)
	}
	h.must(h.fe.StartRingAt(r, base)) // with eventfds, which take precedence
	pass(t, r)
	h.fe.Close()
	_ = h.wait()
	ch.Close()
	<-served
}

// Calls that were due before there was a channel are sent once there is one.
func TestInbandCallBeforeChannel(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
	h.do(vhostuser.VringKick, state(0, 0))
	ch := h.openChannel()
	req, m, err := ch.Recv()
	h.must(err)
	if req != vhostuser.BackendVringCall || vhostuser.DecodeVringState(m.Payload) != (vhostuser.VringState{}) || m.Flags&vhostuser.FlagNeedReply == 0 {
		t.Errorf("got %v with flags %#x: %x", req, m.Flags, m.Payload)
	}
}

// "It is also considered an error to negotiate this feature without also negotiating BACKEND_REQ
// and REPLY_ACK": the connection is closed, whether or not a reply was requested.
func TestInbandNotificationsNeedChannelAndReplies(t *testing.T) {
	for _, features := range []uint64{inband, inband | backReq, inband | replyAck} {
		h := serve(t, newDevice(2))
		h.must(h.fe.Handshake(allVirtio, replyAck))
		h.must(h.fe.Send(vhostuser.SetProtocolFeatures, vhostuser.FlagNeedReply, u64(features)))
		h.endsWith(vhostuser.ErrRefused)
	}
}
