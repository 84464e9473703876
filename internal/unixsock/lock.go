package unixsock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld: another process has held the lock for longer than anybody should.
var ErrHeld = errors.New("is locked by another process")

// suffix is what a lock's name has more than that of the socket which it protects.
const suffix = ".lock"

const (
	patience = 5 * time.Second
	every    = 5 * time.Millisecond
)

// Lock waits until no other process, and nobody else in this one, has the lock of the socket at
// path, which need not exist. Listen has the lock while it makes a socket, so that nobody replaces
// a socket that another process is just making. The lock is a file beside the socket that other
// users may not open, so that they cannot keep us waiting. The lock ends with the process, however
// that comes to its end. Lock stops waiting when ctx is done, and returns its cause.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	name := path + suffix
	for end := time.Now().Add(patience); ; {
		fd, err := try(name)
		switch {
		case err == nil:
			return func() {
				_ = os.Remove(name) // while this process has the lock: see try
				_ = unix.Close(fd)
			}, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("%s: %w", name, err)
		case time.Now().After(end):
			return nil, fmt.Errorf("%s: %w", name, ErrHeld)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", name, context.Cause(ctx))
		case <-time.After(every):
		}
	}
}

// try takes the lock if it is free, and returns the lock's file; EWOULDBLOCK if it is not.
func try(name string) (fd int, err error) {
	fd, err = unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	// Who has had it before may have removed the file between our two steps. Then another one may
	// be there, which somebody else has locked.
	var have, there unix.Stat_t
	if unix.Fstat(fd, &have) != nil || unix.Lstat(name, &there) != nil || have.Dev != there.Dev || have.Ino != there.Ino {
		_ = unix.Close(fd)
		return -1, unix.EWOULDBLOCK
	}
	return fd, nil
}
