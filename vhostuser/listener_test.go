package vhostuser_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

func listen(t *testing.T, path string, o vhostuser.ListenOptions) *vhostuser.Listener {
	t.Helper()
	l, err := vhostuser.Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect dials path, and accepts the connection through c.
func connect(t *testing.T, c vhostuser.Connector, path string) {
	t.Helper()
	peer, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	conn, err := c.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestListenMakesDirectoryAndSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "vswitchd", "vm1.sock")
	l := listen(t, path, vhostuser.ListenOptions{Mode: 0o660})
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Mode(); got != os.ModeSocket|0o660 {
		t.Errorf("mode %v", got)
	}
	connect(t, l, path)
	connect(t, l, path) // a guest that disconnected can connect again
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket was not removed: %v", err)
	}
}

func TestListenGivesSocketAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: the socket is given to its own group")
	}
	path := filepath.Join(t.TempDir(), "sock")
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 65534
	}
	listen(t, path, vhostuser.ListenOptions{Chown: true, UID: -1, GID: gid})
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	if int(st.Gid) != gid || int(st.Uid) != os.Getuid() || st.Mode&0o777 != 0o600 {
		t.Errorf("socket of %d:%d, mode %o", st.Uid, st.Gid, st.Mode)
	}
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false) // as after kill -9
	if _, err := vhostuser.Listen(path, vhostuser.ListenOptions{}); !errors.Is(err, vhostuser.ErrSocketInUse) {
		t.Errorf("socket in use: got %v", err)
	}
	_ = old.Close()
	connect(t, listen(t, path, vhostuser.ListenOptions{}), path)
}

// Several processes start at the same time, where a killed one has left its socket: one gets the
// socket, and the others get an error.
func TestOneOfManyReplacesStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	for range 100 {
		old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		old.SetUnlinkOnClose(false)
		_ = old.Close()
		winners := make(chan *vhostuser.Listener, 4)
		var wg sync.WaitGroup
		for range cap(winners) {
			wg.Go(func() {
				l, err := vhostuser.Listen(path, vhostuser.ListenOptions{})
				if err == nil {
					winners <- l
				} else if !errors.Is(err, vhostuser.ErrSocketInUse) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(winners); n != 1 {
			t.Fatalf("%d processes have the socket", n)
		}
		l := <-winners
		connect(t, l, path)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	listen(t, used, vhostuser.ListenOptions{})
	for path, want := range map[string]error{
		plain: vhostuser.ErrNotSocket,
		used:  vhostuser.ErrSocketInUse,
		filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1)): vhostuser.ErrPathTooLong,
		filepath.Join(plain, "sock"):                            unix.ENOTDIR,
	} {
		_, err := vhostuser.Listen(path, vhostuser.ListenOptions{})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
	if b, err := os.ReadFile(plain); err != nil || string(b) != "precious" {
		t.Errorf("file that is not a socket: %q, %v", b, err)
	}
	longest := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	connect(t, listen(t, longest, vhostuser.ListenOptions{}), longest)
}

func TestCloseLeavesSocketOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := listen(t, path, vhostuser.ListenOptions{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	connect(t, other, path)
}

func TestConnectEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	reason := errors.New("port was removed")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(reason)
	if _, err := l.Connect(ctx); err != reason {
		t.Errorf("got %v, want %v", err, reason)
	}
	connect(t, l, path) // the socket still works

	d := &vhostuser.Dialer{Path: filepath.Join(t.TempDir(), "nobody")}
	if _, err := d.Connect(ctx); err != reason {
		t.Errorf("got %v, want %v", err, reason)
	}
}

func TestDialerWaitsForFrontEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	d := &vhostuser.Dialer{Path: path, MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond}
	done := make(chan error, 1)
	go func() {
		for range 2 {
			conn, err := d.Connect(context.Background())
			if err != nil {
				done <- err
				return
			}
			_ = conn.Close()
		}
		done <- nil
	}()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 2 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	long := &vhostuser.Dialer{Path: strings.Repeat("x", 108)}
	if _, err := long.Connect(context.Background()); !errors.Is(err, vhostuser.ErrPathTooLong) {
		t.Errorf("long path: %v", err)
	}
}

func TestInheritListeningSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	c, err := vhostuser.Inherit(fd)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, c, path)
	connect(t, c, path)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("a socket that another process made was removed:", err)
	}
}

func TestInheritConnection(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	c, err := vhostuser.Inherit(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	_ = conn.Close()
	if _, err := c.Connect(context.Background()); !errors.Is(err, vhostuser.ErrOnlyConnection) {
		t.Errorf("second connection: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestInheritRefusesOtherFiles(t *testing.T) {
	before := vhostusertest.OpenFiles(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{p[0], p[1], udp, 1 << 20} {
		if _, err := vhostuser.Inherit(fd); err == nil {
			t.Errorf("file descriptor %d was accepted as a vhost-user socket", fd)
		}
	}
	if n := vhostusertest.OpenFiles(t); n != before {
		t.Errorf("%d file descriptors are open, %d before", n, before)
	}
}
