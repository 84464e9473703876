package vhostuser_test

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// endsWith expects the session to end for a reason.
func (h *harness) endsWith(want error) {
	h.t.Helper()
	if err := h.wait(); !errors.Is(err, want) {
		h.t.Errorf("session ended with %v, want %v", err, want)
	}
}

// A front-end that stops its rings before it exits has ended in an orderly way; one that
// does not has died.
func TestDisconnect(t *testing.T) {
	for want, stop := range map[error]func(h *harness, r *vhostusertest.Ring){
		vhostuser.ErrDied:         func(*harness, *vhostusertest.Ring) {},
		vhostuser.ErrDisconnected: func(h *harness, r *vhostusertest.Ring) { _, err := h.fe.StopRing(r); h.must(err) },
	} {
		h := serve(t, newDevice(2))
		mem := h.negotiate(allVirtio, allProto)
		r := h.ring(mem, 0)
		h.must(h.fe.StartRing(r))
		pass(t, r)
		stop(h, r)
		h.fe.Close()
		if err := h.wait(); err != want {
			t.Errorf("session ended with %v, want %v", err, want)
		}
		h.leftNothing()
	}
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	h.do(vhostuser.SetStatus, u64(0))
	h.fe.Close()
	if err := h.wait(); err != vhostuser.ErrDisconnected {
		t.Errorf("session ended with %v after a reset", err)
	}
}

// A front-end that disconnects without waiting for a reply has ended in an orderly way.
func TestDisconnectBeforeTheReply(t *testing.T) {
	for range 20 {
		h := serve(t, newDevice(2))
		h.must(h.fe.Send(vhostuser.GetFeatures, 0, nil))
		h.must(h.fe.Send(vhostuser.GetFeatures, 0, nil))
		h.fe.Close()
		if err := h.wait(); err != vhostuser.ErrDisconnected {
			t.Fatalf("session ended with %v", err)
		}
	}
}

// leftNothing checks that a session that has ended has left no state.
func (h *harness) leftNothing() {
	t := h.t
	t.Helper()
	if st := h.dev.session.Load().Snapshot(); len(st.Regions) != 0 || st.Vrings[0].Started || st.Vrings[0].Kick != -1 {
		t.Errorf("state after the end: %+v", st)
	}
}

func TestSameDeviceServesOneSessionAfterAnother(t *testing.T) {
	dev := newDevice(2)
	for range 10 {
		h := serve(t, dev)
		mem := h.negotiate(allVirtio, allProto)
		r := h.ring(mem, 0)
		h.must(h.fe.StartRing(r))
		pass(t, r)
		h.fe.Close()
		h.endsWith(vhostuser.ErrDisconnected)
	}
}

// header returns the first 12 bytes of a message.
func header(request, flags, size uint32) []byte {
	b := state(request, flags)
	return append(b, state(size, 0)[:4]...)
}

func TestHostileStreams(t *testing.T) {
	for name, c := range map[string]struct {
		send []byte
		want error
	}{
		"part of a header":        {header(1, 1, 0)[:5], vhostuser.ErrTruncated},
		"header without payload":  {header(2, 1, 8), vhostuser.ErrTruncated},
		"part of a payload":       {append(header(2, 1, 8), 1, 2, 3), vhostuser.ErrTruncated},
		"version 0":               {header(1, 0, 0), vhostuser.ErrMalformed},
		"version 2":               {header(1, 2, 0), vhostuser.ErrMalformed},
		"endless payload":         {header(2, 1, 1<<32-1), vhostuser.ErrMalformed},
		"oversized payload":       {header(2, 1, vhostuser.MaxPayload+1), vhostuser.ErrMalformed},
		"garbage":                 {[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), vhostuser.ErrMalformed},
		"payload that is not due": {append(header(1, 1, 8), u64(0)...), vhostuser.ErrMalformed},
		"payload too small":       {append(header(2, 1, 7), u64(0)[:7]...), vhostuser.ErrMalformed},
		"a reply":                 {header(1, 5, 0), vhostuser.ErrMalformed},
		"message 0":               {header(0, 1, 0), vhostuser.ErrUnknownMessage},
		"message 1000":            {header(1000, 1, 0), vhostuser.ErrUnknownMessage},
		"last message":            {header(1<<32-1, 1, 0), vhostuser.ErrUnknownMessage},
		"not negotiated":          {header(uint32(vhostuser.GetMaxMemSlots), 1, 0), vhostuser.ErrNotNegotiated},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newDevice(2))
			h.must(h.fe.Write(c.send))
			if errors.Is(c.want, vhostuser.ErrTruncated) {
				h.must(h.fe.CloseWrite())
			}
			h.endsWith(c.want)
			h.must(h.fe.WaitClosed())
		})
	}
}

func TestErrorsNameTheMessage(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Send(vhostuser.SetVringNum, 0, state(0, 3)))
	err := h.wait()
	var perr *vhostuser.ProtocolError
	if !errors.As(err, &perr) || perr.Request != vhostuser.SetVringNum || !errors.Is(err, vhostuser.ErrRefused) {
		t.Errorf("session ended with %v", err)
	}
	if want := "SET_VRING_NUM: refused: vring 0 of size 3, which is not a power of two"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

// Every message that is not in the specification, or whose feature was not negotiated, is refused
// and changes nothing.
func TestMessagesOutOfPlaceAreRefusedByReplyAck(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	before := h.dev.session.Load().Snapshot()
	fd, err := vhostusertest.NewEventFD()
	h.must(err)
	defer unix.Close(fd)
	for r, size := range map[vhostuser.Request]int{
		0: 0, 46: 8, 1 << 31: 0,
		vhostuser.SendRARP:           8,
		vhostuser.NetSetMTU:          8,
		vhostuser.SetBackendReqFD:    0,
		vhostuser.SetVringEndian:     8,
		vhostuser.SetConfig:          12,
		vhostuser.CloseCryptoSession: 8,
		vhostuser.PostcopyListen:     0,
		vhostuser.SetInflightFD:      24,
		vhostuser.GPUSetSocket:       0,
		vhostuser.ResetDevice:        0,
		vhostuser.VringKick:          8,
		vhostuser.SetStatus:          8,
	} {
		h.refused(r, make([]byte, size), fd)
		h.refused(r, make([]byte, size))
	}
	after := h.dev.session.Load().Snapshot()
	if after.Features != before.Features || len(after.Regions) != 0 {
		t.Errorf("state changed to %+v", after)
	}
}

func TestTooManyDescriptors(t *testing.T) {
	for _, n := range []int{1, 7, 8} { // some message may have as many: refused
		h := serve(t, newDevice(2))
		h.must(h.fe.Handshake(allVirtio, allProto))
		fds := eventFDs(t, n)
		h.refused(vhostuser.SetOwner, nil, fds...)
		h.do(vhostuser.SetOwner, nil)
	}
	for _, n := range []int{9, 10, 64, 253} { // more: ancillary data is truncated
		h := serve(t, newDevice(2))
		h.must(h.fe.Handshake(allVirtio, allProto))
		fds := eventFDs(t, n)
		if err := h.fe.Do(vhostuser.SetOwner, nil, fds...); errors.Is(err, vhostusertest.ErrNack) {
			t.Errorf("%d descriptors: the session continues", n)
		}
		h.endsWith(vhostuser.ErrMalformed)
	}
	// The largest number, and then one more with the rest of the header.
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	whole := header(uint32(vhostuser.SetOwner), 1|8, 0)
	h.must(h.fe.Write(whole[:5], eventFDs(t, 8)...))
	h.must(h.fe.Write(whole[5:], eventFDs(t, 1)...))
	h.endsWith(vhostuser.ErrMalformed)
}

func TestDescriptorsOfPayloadAndOfHalfMessages(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fds := eventFDs(t, 3)
	// With the payload: these belong to no message. The one with the header counts.
	h.must(h.fe.Write(header(uint32(vhostuser.SetVringCall), 1|8, 8), fds[0]))
	h.must(h.fe.Write(file(0), fds[1], fds[2]))
	if m, err := h.fe.Recv(); err != nil || vhostuser.DecodeU64(m.Payload) != 0 {
		t.Fatal(m, err)
	}
	// In the middle of a header: belongs to the message.
	h.must(h.fe.Write(header(uint32(vhostuser.SetVringErr), 1|8, 8)[:3]))
	h.must(h.fe.Write(header(uint32(vhostuser.SetVringErr), 1|8, 8)[3:], fds[0]))
	h.must(h.fe.Write(file(0)))
	if m, err := h.fe.Recv(); err != nil || vhostuser.DecodeU64(m.Payload) != 0 {
		t.Fatal(m, err)
	}
	// The front-end dies before the payload.
	h.must(h.fe.Write(header(uint32(vhostuser.SetVringKick), 1|8, 8), fds...))
	h.must(h.fe.CloseWrite())
	h.endsWith(vhostuser.ErrTruncated)
}

func TestDescriptorsOfTwoMessagesInOneWrite(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fds := eventFDs(t, 1)
	two := append(header(uint32(vhostuser.SetVringCall), 1|8, 8), file(0)...)
	two = append(two, two...)
	h.must(h.fe.Write(two, fds...))
	for _, want := range []uint64{0, 1} { // the second message has none
		m, err := h.fe.Recv()
		h.must(err)
		if got := vhostuser.DecodeU64(m.Payload); got != want {
			t.Errorf("acknowledged with %d, want %d", got, want)
		}
	}
}

func TestFailFromDataPlane(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	r.Driver.SetAvailIdx(40000) // too far ahead: the device's Pop fails
	h.must(r.Kick())
	h.must(h.fe.WaitClosed())
	if err := h.wait(); err == nil || errors.Is(err, vhostuser.ErrDisconnected) {
		t.Errorf("session ended with %v", err)
	}
}

// A data plane that is busy and fails while the session waits for it.
func TestFailWhileSessionWaitsForDataPlane(t *testing.T) {
	dev := newDevice(2)
	dev.slow = make(chan struct{})
	h := serve(t, dev)
	mem := h.negotiate(allVirtio, memSlots)
	r := h.ring(mem, 0)
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
	h.do(vhostuser.SetVringKick, file(0), r.KickFD)
	r.Driver.SetAvailIdx(40000)
	h.must(h.fe.Send(vhostuser.SetVringCall, 0, file(0), r.CallFD)) // waits in Quiesce
	close(dev.slow)
	h.must(h.fe.WaitClosed())
}

func TestCancelWhileWaiting(t *testing.T) {
	reason := errors.New("port was removed")
	t.Run("for a message", func(t *testing.T) {
		h := serve(t, newDevice(2))
		h.negotiate(allVirtio, allProto)
		h.cancel(reason)
		h.endsWith(reason)
	})
	t.Run("for the rest of one", func(t *testing.T) {
		h := serve(t, newDevice(2))
		h.negotiate(allVirtio, allProto)
		h.must(h.fe.Write(header(2, 1, 8)))
		h.cancel(reason)
		h.endsWith(reason)
	})
	t.Run("for a front-end that does not read", func(t *testing.T) {
		h := serve(t, newDevice(2))
		stuck := make(chan struct{})
		go func() {
			defer close(stuck)
			for h.fe.Send(vhostuser.GetFeatures, 0, nil) == nil {
			}
		}()
		h.cancel(reason)
		h.endsWith(reason)
		<-stuck
	})
}

func TestSnapshotWhileServing(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
				st := h.dev.session.Load().Snapshot()
				if len(st.Vrings) != 2 || h.dev.session.Load().Contains(0) {
					t.Errorf("state %+v", st)
					return
				}
			}
		}
	}()
	r := h.ring(mem, 0)
	other := h.more(4096)
	for range 50 {
		h.must(h.fe.StartRing(r))
		h.must(h.fe.AddMemory(other))
		h.must(h.fe.RemoveMemory(other))
		_, err := h.fe.StopRing(r)
		h.must(err)
	}
	close(stop)
	wg.Wait()
}

// eventFDs returns n eventfds that are closed at the end of the test.
func eventFDs(t *testing.T, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fd, err := vhostusertest.NewEventFD()
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	return fds
}
