package control_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vswitchd/internal/control"
)

var mine = control.Access{UID: -1, GID: -1, Mode: 0o620}

// makeStale leaves a socket behind that nobody listens on, as a killed
// process does.
func makeStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// A directory that is missing has been mistyped.
func TestListenMakesNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := control.Listen(t.Context(), filepath.Join(dir, "b", "s"), mine); err == nil || !strings.Contains(err.Error(), "there is no directory "+dir) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
}

func TestListenMakesSocketAndRemovesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("%v, %v", fi, err)
	}
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
	l, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// Several daemons start at the same time, where a killed one has left its socket.
func TestOneOfManyReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 100 {
		makeStale(t, path)
		winners := make(chan net.Listener, 4)
		var wg sync.WaitGroup
		for range cap(winners) {
			wg.Go(func() {
				l, err := control.Listen(t.Context(), path, mine)
				if err == nil {
					winners <- l
				} else if !errors.Is(err, control.ErrInUse) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(winners); n != 1 {
			t.Fatalf("%d have the socket", n)
		}
		l := <-winners
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

func TestListenLeavesASocketInUseAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := control.Listen(t.Context(), path, mine); !errors.Is(err, control.ErrInUse) {
		t.Errorf("second Listen: %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first listener is gone: %v", err)
	}
	c.Close()
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(t.Context(), path, mine); err == nil {
		t.Fatal("no error")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("%q %v", data, err)
	}
}

func TestCloseLeavesTheSocketOfASuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l2, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestListenSetsTheOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, control.Access{UID: os.Getuid(), GID: os.Getgid(), Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
		t.Errorf("owner %d, group %d", st.Uid, st.Gid)
	}
}
