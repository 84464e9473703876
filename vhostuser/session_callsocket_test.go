package vhostuser_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue/virtqueuetest"
)

// socketPair returns the two ends of a connection of sockets: ours, whose reads block,
// and the back-end's.
func socketPair(t *testing.T, kind int) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]) })
	must := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	if must != nil {
		t.Fatal(must)
	}
	return fds[0], fds[1]
}

// callSocket passes a socket for calls of ring i to the back-end.
func (h *harness) callSocket(i uint8) (ours int) {
	h.t.Helper()
	ours, theirs := socketPair(h.t, unix.SOCK_STREAM)
	h.do(vhostuser.SetVringCall, file(i), theirs)
	unix.Close(theirs)
	return ours
}

// expectSignal waits for a signal on a socket.
func expectSignal(t *testing.T, socket int) {
	t.Helper()
	buf := make([]byte, 8)
	if n, err := unix.Read(socket, buf); n != 8 || err != nil || vhostuser.DecodeU64(buf) != 1 {
		t.Fatalf("read % x (%d), %v; want a signal", buf, n, err)
	}
}

// A ring signals on a socket as it does on an eventfd.
func TestCallSocket(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	socket := h.callSocket(0)
	expectSignal(t, socket) // one when the socket is set
	if v := h.vring(0); v.CallSocket < 0 || !v.HasCall || v.Call < 0 {
		t.Errorf("vring is %+v", v)
	}
	for range 50 {
		offer(t, r)
		h.must(r.Kick())
		for {
			if head, _, ok := r.Driver.PollUsed(); ok {
				r.Driver.Release(head)
				break
			}
			if !r.Driver.Arm() {
				expectSignal(t, socket)
			}
		}
	}
	// Another socket, an eventfd, none: no resources of the previous one are left.
	other := h.callSocket(0)
	expectSignal(t, other)
	h.do(vhostuser.SetVringCall, file(0), r.CallFD)
	h.must(r.WaitCall())
	if v := h.vring(0); v.CallSocket >= 0 {
		t.Errorf("vring is %+v", v)
	}
	pass(t, r)
	h.callSocket(0)
	h.do(vhostuser.SetVringCall, noFile(0))
	h.callSocket(1) // for a ring that is not set up
}

// A front-end that does not read its socket, or has closed it, does not block the device.
func TestCallSocketThatNobodyReads(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	ours, theirs := socketPair(t, unix.SOCK_STREAM)
	h.do(vhostuser.SetVringCall, file(0), theirs)
	h.must(unix.SetNonblock(theirs, false)) // also applies to the back-end's descriptor
	for unix.Sendto(theirs, make([]byte, 4096), unix.MSG_DONTWAIT, nil) == nil {
	}
	for unix.Sendto(theirs, make([]byte, 8), unix.MSG_DONTWAIT, nil) == nil {
	}
	buf := r.Driver.Alloc(100)
	use := func(n int) {
		t.Helper()
		for range n {
			r.Driver.Arm()
			if _, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{buf}); err != nil {
				t.Fatal(err)
			}
			r.Driver.Publish()
			h.must(r.Kick())
			for {
				if head, _, ok := r.Driver.PollUsed(); ok {
					r.Driver.Release(head)
					break
				}
			}
		}
	}
	use(10)
	h.do(vhostuser.SetVringCall, noFile(0))
	h.do(vhostuser.SetVringCall, file(0), theirs) // still full
	use(10)
	unix.Close(theirs)
	h.must(unix.Shutdown(ours, unix.SHUT_RDWR))
	use(100)
}

// Any other kind of file for signals is refused.
func TestWhatIsNoEventfd(t *testing.T) {
	h := serve(t, newDevice(2))
	h.negotiate(allVirtio, allProto)
	var pipe [2]int
	h.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	ours, datagrams := socketPair(t, unix.SOCK_DGRAM)
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	h.must(err)
	_, stream := socketPair(t, unix.SOCK_STREAM)
	t.Cleanup(func() {
		for _, fd := range []int{pipe[0], pipe[1], datagrams, tcp, stream} {
			unix.Close(fd)
		}
	})
	for _, fd := range []int{pipe[0], pipe[1], datagrams, ours, tcp} {
		for _, r := range []vhostuser.Request{vhostuser.SetVringCall, vhostuser.SetVringKick, vhostuser.SetVringErr} {
			h.refused(r, file(0), fd)
		}
	}
	h.refused(vhostuser.SetVringKick, file(0), stream)
	h.refused(vhostuser.SetVringErr, file(0), stream)
}

// In-band notifications exclude sockets for calls.
func TestCallSocketInsteadOfMessages(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	socket := h.callSocket(0)
	expectSignal(t, socket)
	ch, err := h.fe.OpenChannel()
	h.must(err)
	defer ch.Close()
	offer(t, r)
	h.must(r.Kick())
	expectSignal(t, socket)
	if !ch.Silent(50e6) {
		t.Error("there is a message on the channel")
	}
}
