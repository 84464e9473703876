package unixsock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/internal/unixsock"
)

// Every one of several concurrent callers gets the lock, no two hold it at the same time, and no
// file is left.
func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				unlock, err := unixsock.Lock(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n != 1 {
		t.Errorf("%d had the lock at the same time", n)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// The lock file that a killed process has left does not hold the lock.
func TestLockOfADeadProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, err := unixsock.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A symbolic link at the lock's path is not followed: it could make vswitchd create an arbitrary
// file.
func TestLockIsNoLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path+".lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := unixsock.Lock(t.Context(), path); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("the file that the link names was made")
	}
}

// Waiting for a lock ends when the context is done.
func TestLockEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	unlock, err := unixsock.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if _, err := unixsock.Lock(ctx, path); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
