package vhostuser_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// A peer that shares the file description can make it blocking at any time. Even then no
// call may wait in the kernel, where neither the end of the connection nor a cancelled
// context interrupts it.

var errCancelled = errors.New("cancelled")

// blocking makes a file description blocking.
func blocking(t *testing.T, fd int) {
	t.Helper()
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// TestChannelMadeBlocking: the back-end waits on the channel in different ways, and the front-end
// exits while another process keeps the channel open.
func TestChannelMadeBlocking(t *testing.T) {
	for name, c := range map[string]struct {
		proto uint64
		fill  bool // the socket is full, so that the back-end waits to send
		says  bool // the back-end has something to send
	}{
		"waiting for something to say": {everyProto, false, false},
		"waiting for a reply":          {everyProto, false, true},
		"waiting to send":              {everyProto, true, true},
		"waiting to send, no replies":  {config | backReq, true, true},
	} {
		for _, end := range []string{"front-end leaves", "cancelled", "replaced"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				h := serveFull(t, newFullDevice(2))
				mem := h.negotiate(allVirtio, c.proto)
				fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
				h.must(err)
				defer unix.Close(fds[0])
				defer unix.Close(fds[1])
				ours, theirs := fds[0], fds[1]
				h.must(h.fe.StartRing(h.ring(mem, 0)))
				if c.fill {
					for err == nil {
						_, err = unix.Write(theirs, make([]byte, 4096))
					}
				}
				h.must(h.fe.Do(vhostuser.SetBackendReqFD, nil, theirs))
				blocking(t, theirs)
				if c.says {
					h.dev.session.Load().ConfigChanged()
					if !c.fill { // the message has been sent
						p := []unix.PollFd{{Fd: int32(ours), Events: unix.POLLIN}}
						if n, err := unix.Poll(p, int(vhostusertest.Timeout.Milliseconds())); n != 1 {
							t.Fatal("nothing was sent", err)
						}
					}
				}
				switch end {
				case "front-end leaves":
					h.fe.Close()
				case "cancelled":
					h.cancel(errCancelled)
				case "replaced":
					h.must(h.fe.Do(vhostuser.SetBackendReqFD, nil, ours))
					h.fe.Close()
				}
				_ = h.wait() // fails the test if the session does not end
			})
		}
	}
}

// A connection that another process shares, as a socket that was passed to this process may be.
func TestConnectionMadeBlocking(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, fe *vhostusertest.FrontEnd){
		"waiting for a message": func(*testing.T, *vhostusertest.FrontEnd) {},
		"within a header": func(t *testing.T, fe *vhostusertest.FrontEnd) {
			if err := fe.Write([]byte{1, 0}); err != nil {
				t.Fatal(err)
			}
		},
		"within a payload": func(t *testing.T, fe *vhostusertest.FrontEnd) {
			if err := fe.Write([]byte{2, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fe, backend, err := vhostusertest.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer fe.Close()
			other, err := backend.File() // the same description
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- vhostuser.Serve(ctx, backend, newDevice(2), vhostuser.Options{}) }()
			if _, err := fe.GetU64(vhostuser.GetFeatures); err != nil {
				t.Fatal(err)
			}
			blocking(t, int(other.Fd()))
			if _, err := fe.GetU64(vhostuser.GetFeatures); err != nil {
				t.Fatal(err)
			}
			before(t, fe)
			cancel(errCancelled)
			if err := <-ended; err != errCancelled {
				t.Error(err)
			}
		})
	}
}

// A listening socket that was passed to this process and is made blocking.
func TestListenerMadeBlocking(t *testing.T) {
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ul.Close()
	other, err := ul.File()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fd, err := unix.Dup(int(other.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := vhostuser.Inherit(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	blocking(t, int(other.Fd()))
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Connect(ctx)
		ended <- err
	}()
	cancel(errCancelled)
	if err := <-ended; err != errCancelled {
		t.Error(err)
	}
	// The listener still works.
	fe, err := vhostusertest.Dial(ul.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer fe.Close()
	conn, err := c.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
