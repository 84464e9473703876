package unixsock_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/internal/unixsock"
)

var mine = unixsock.Access{UID: -1, GID: -1, Mode: 0o620}

func listen(t *testing.T, path string, a unixsock.Access) *unixsock.Listener {
	t.Helper()
	l, err := unixsock.Listen(t.Context(), path, 4, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connects checks that clients reach l at path.
func connects(t *testing.T, l *unixsock.Listener, path string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// makeStale makes a socket file on which no process listens, as a killed process leaves it.
func makeStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

func TestListenMakesSocketAndRemovesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, mine)
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("%v, %v", fi, err)
	}
	connects(t, l, path)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	makeStale(t, path)
	connects(t, listen(t, path, mine), path)
}

// Several callers listen on a stale socket's path at the same time: one succeeds and the others get
// ErrInUse.
func TestOneOfManyReplacesAStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for range 100 {
		makeStale(t, path)
		winners := make(chan *unixsock.Listener, 4)
		var wg sync.WaitGroup
		for range cap(winners) {
			wg.Go(func() {
				l, err := unixsock.Listen(t.Context(), path, 4, mine)
				if err == nil {
					winners <- l
				} else if !errors.Is(err, unixsock.ErrInUse) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(winners); n != 1 {
			t.Fatalf("%d callers got the socket, want 1", n)
		}
		l := <-winners
		connects(t, l, path)
		_ = l.Close()
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestListenLeavesASocketInUseAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, mine)
	if _, err := unixsock.Listen(t.Context(), path, 4, mine); !errors.Is(err, unixsock.ErrInUse) {
		t.Errorf("second Listen: %v", err)
	}
	connects(t, l, path)
}

func TestListenErrorsNameThePathAndLeaveFilesAlone(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		plain: unixsock.ErrNotSocket,
		filepath.Join(dir, strings.Repeat("x", unixsock.MaxPath-len(dir))): unixsock.ErrPathTooLong,
		filepath.Join(dir, "none", "s"):                                    fs.ErrNotExist,
		filepath.Join(plain, "s"):                                          unix.ENOTDIR,
	} {
		_, err := unixsock.Listen(t.Context(), path, 4, mine)
		if !errors.Is(err, want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
	if data, err := os.ReadFile(plain); err != nil || string(data) != "precious" {
		t.Errorf("%q %v", data, err)
	}
}

// Neither the first nor a second Close removes the socket of a successor.
func TestCloseLeavesTheSocketOfASuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, mine)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	successor := listen(t, path, mine)
	_ = l.Close()
	_ = l.Close()
	connects(t, successor, path)
}

func TestListenSetsTheOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path, unixsock.Access{UID: os.Getuid(), GID: os.Getgid(), Mode: 0o600})
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
		t.Errorf("owner %d, group %d", st.Uid, st.Gid)
	}
}

// SetAccess returns the previous Access, so that the change can be undone, and does not change a
// file that Listen did not make.
func TestSetAccess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, mine)
	was, err := l.SetAccess(unixsock.Access{UID: -1, GID: -1, Mode: 0o666})
	if err != nil || was != (unixsock.Access{UID: os.Getuid(), GID: os.Getgid(), Mode: 0o620}) {
		t.Errorf("was %+v, %v", was, err)
	}
	if was, err = l.SetAccess(was); err != nil || was.Mode != 0o666 {
		t.Errorf("was %+v, %v", was, err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SetAccess(mine); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("another file: %v", err)
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("another file: %v, %v", fi, err)
	}
}

// Accept and Wait return the cause of their context, and the socket works afterwards.
func TestWaitsEndWithTheirContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, mine)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if _, err := l.Accept(ctx); err != enough {
		t.Errorf("Accept: %v", err)
	}
	if err := l.Wait(ctx); err != enough {
		t.Errorf("Wait: %v", err)
	}
	connects(t, l, path)
}

// NetListener, which http.Server uses, fulfils the contract of net.Listener: Close makes Accept
// return net.ErrClosed. Close also removes the socket.
func TestNetListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	nl, err := listen(t, path, mine).NetListener()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := nl.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	ended := make(chan error)
	go func() {
		_, err := nl.Accept()
		ended <- err
	}()
	if err := nl.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
