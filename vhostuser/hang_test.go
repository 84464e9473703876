package vhostuser_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// File descriptors on which a call that should return at once does not: whatever a front-end does
// with them, its session ends.

// lingering returns a TCP socket whose last close blocks: SO_LINGER is set, and there are bytes
// that the peer does not read. The end of the test makes the close return.
func lingering(t *testing.T) (fd int) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = peer.SetLinger(0)
		_ = peer.Close() // sends a reset
	})
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	if fd, err = unix.Dup(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_ = c.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = unix.Write(fd, make([]byte, 1<<20))
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1000}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestCloseThatLingers(t *testing.T) {
	broken := []byte{0: 1, 4: 99, 11: 0} // a header with an invalid version
	for name, send := range map[string]func(fe *vhostusertest.FrontEnd, fd int) error{
		"not an eventfd": func(fe *vhostusertest.FrontEnd, fd int) error {
			return fe.Send(vhostuser.SetVringCall, 0, vhostuser.VringFile{}.AppendTo(nil), fd)
		},
		"not memory": func(fe *vhostusertest.FrontEnd, fd int) error {
			return fe.Send(vhostuser.SetMemTable, 0, vhostuser.AppendMemTable(nil, []vhostuser.MemRegion{{Size: 4096}}), fd)
		},
		"not a channel": func(fe *vhostusertest.FrontEnd, fd int) error {
			return fe.Send(vhostuser.SetBackendReqFD, 0, nil, fd)
		},
		"with a message that has none": func(fe *vhostusertest.FrontEnd, fd int) error {
			return fe.Send(vhostuser.SetOwner, 0, nil, fd)
		},
		"with a broken header": func(fe *vhostusertest.FrontEnd, fd int) error {
			return fe.Write(broken, fd)
		},
		"with a payload": func(fe *vhostusertest.FrontEnd, fd int) error {
			if err := fe.Write([]byte{0: byte(vhostuser.SetFeatures), 4: 1, 8: 8, 11: 0}); err != nil {
				return err
			}
			return fe.Write(make([]byte, 8), fd)
		},
		"unread in the connection": func(fe *vhostusertest.FrontEnd, fd int) error {
			if err := fe.Write(broken); err != nil {
				return err
			}
			return fe.Write(broken, fd)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fd := lingering(t)
			// The descriptor in flight is then the last one.
			closeAll := func() { _ = unix.Close(fd) }
			servesToTheEnd(t, func(fe *vhostusertest.FrontEnd) error { return send(fe, fd) }, closeAll)
		})
	}
}

// An Account accepts no front-end while a call for the previous one has not returned.
func TestNextFrontEndWaitsForHungCall(t *testing.T) {
	pool := vhostuser.NewPool(vhostuser.Capacity{AddressSpace: 1 << 40, Mappings: 60000, FileDescriptors: 60000})
	account := pool.Open(vhostuser.Limits{Memory: 1 << 38, MemoryName: "limit", Vrings: 2})
	defer account.Close()
	dev := newDevice(2)
	opts := vhostuser.Options{Account: account}
	serve := func(send func(fe *vhostusertest.FrontEnd)) error {
		fe, backend, err := vhostusertest.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer fe.Close()
		send(fe)
		return vhostuser.Serve(t.Context(), backend, dev, opts)
	}
	if err := serve(func(fe *vhostusertest.FrontEnd) {
		fd := lingering(t)
		if err := fe.Send(vhostuser.SetOwner, 0, nil, fd); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
	}); !errors.Is(err, vhostuser.ErrHung) {
		t.Error(err)
	}
	if err := serve(func(*vhostusertest.FrontEnd) {}); !errors.Is(err, vhostuser.ErrHung) {
		t.Error(err)
	}
}

// Memory, or a descriptor that should be an eventfd, in a file system that the front-end serves,
// and that does not answer.
func TestFileSystemThatDoesNotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		r       vhostuser.Request
		payload []byte
	}{
		"table": {vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, []vhostuser.MemRegion{{Size: 4096}})},
		"call":  {vhostuser.SetVringCall, vhostuser.VringFile{}.AppendTo(nil)},
		"none":  {vhostuser.SetOwner, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fd := deadFile(t)
			servesToTheEnd(t, func(fe *vhostusertest.FrontEnd) error { return fe.Send(c.r, 0, c.payload, fd) }, func() {})
		})
	}
}

// servesToTheEnd serves a front-end that sends something and then closes its descriptors.
func servesToTheEnd(t *testing.T, say func(fe *vhostusertest.FrontEnd) error, closeAll func()) {
	t.Helper()
	fe, backend, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := say(fe); err != nil {
		t.Fatal(err)
	}
	closeAll()
	go fe.Close() // waits if the messages are not read
	ended := make(chan error, 1)
	go func() { ended <- vhostuser.Serve(t.Context(), backend, newDevice(2), vhostuser.Options{}) }()
	select {
	case <-ended:
	case <-time.After(vhostusertest.Timeout):
		t.Fatal("the session does not end")
	}
}

// deadFile returns an open file in a FUSE file system whose server stops answering once the file is
// open. The end of the test ends all calls.
func deadFile(t *testing.T) (fd int) {
	t.Helper()
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	t.Cleanup(func() { _ = unix.Close(dev) })
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan int)
	go func() {
		// Only this thread sees the mount, which ends with the thread.
		runtime.LockOSThread()
		fd := -1
		defer func() { opened <- fd }()
		if unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS) != nil || unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
			return
		}
		opts := "rootmode=100000,user_id=0,group_id=0,fd=" + strconv.Itoa(dev)
		if unix.Mount("test", path, "fuse", 0, opts) == nil {
			fd, _ = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
	}()
	serveFUSE(t, dev)
	if fd = <-opened; fd < 0 {
		t.Skip("FUSE cannot be mounted here")
	}
	return fd
}

// serveFUSE answers the requests that are needed to open a file: INIT, GETATTR and OPEN.
func serveFUSE(t *testing.T, dev int) {
	t.Helper()
	const (
		opGetattr, opOpen, opInit = 3, 14, 26
		inHeader                  = 40
	)
	buf := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(dev, buf)
		if err == syscall.EPERM { // not mounted yet
			time.Sleep(time.Millisecond)
			continue
		}
		if err == syscall.EINTR || err == syscall.ENOENT {
			continue
		}
		if err != nil || n < inHeader {
			t.Fatal("reading a FUSE request: ", n, err)
		}
		var reply []byte
		switch op := binary.NativeEndian.Uint32(buf[4:]); op {
		case opInit:
			reply = make([]byte, 64)
			binary.NativeEndian.PutUint32(reply, 7)
			binary.NativeEndian.PutUint32(reply[4:], 31)
			binary.NativeEndian.PutUint32(reply[20:], 4096) // max_write
		case opGetattr:
			reply = make([]byte, 16+88)
			binary.NativeEndian.PutUint64(reply[16:], 1)           // inode
			binary.NativeEndian.PutUint64(reply[24:], 1<<20)       // size
			binary.NativeEndian.PutUint32(reply[16+60:], 0o100600) // mode
			binary.NativeEndian.PutUint32(reply[16+64:], 1)        // links
		case opOpen:
			reply = make([]byte, 16)
		default:
			continue // unanswered
		}
		head := make([]byte, 16)
		binary.NativeEndian.PutUint32(head, uint32(len(head)+len(reply)))
		copy(head[8:], buf[8:16]) // unique
		if _, err := syscall.Write(dev, append(head, reply...)); err != nil {
			t.Fatal("answering a FUSE request: ", err)
		}
		if binary.NativeEndian.Uint32(buf[4:]) == opOpen {
			return
		}
	}
}
