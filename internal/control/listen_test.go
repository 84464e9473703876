package control_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/unixsock"
)

var mine = control.Access{UID: -1, GID: -1, Mode: 0o620}

// A missing directory is probably mistyped.
func TestListenMakesNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := control.Listen(t.Context(), filepath.Join(dir, "b", "s"), mine); err == nil || !strings.Contains(err.Error(), "there is no directory "+dir) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
}

// A second daemon gets an error that says that the socket is in use, and changes nothing.
func TestListenLeavesASocketInUseAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(t.Context(), path, mine); !errors.Is(err, unixsock.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Listen: %v", err)
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// makeStale leaves a socket behind that no process listens on, like a killed process.
func makeStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}
