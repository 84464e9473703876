package unixsock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld: another process has held the lock for longer than lockTimeout.
var ErrHeld = errors.New("is locked by another process")

// suffix is appended to a socket's path to form the path of its lock file.
const suffix = ".lock"

const (
	lockTimeout   = 5 * time.Second
	retryInterval = 5 * time.Millisecond
)

// Lock acquires the lock of the socket at path, which need not exist. It excludes other processes
// and other callers in this process. Listen holds the lock while it makes a socket, so that no
// process replaces a socket that another process is just making. The lock is a flock(2) on a file
// next to the socket. Other users may not open this file, so that they cannot block vswitchd. The
// kernel releases the lock when the process ends for any reason. Lock gives up with ErrHeld after
// lockTimeout, and with the cause of ctx when ctx is done.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	name := path + suffix
	for end := time.Now().Add(lockTimeout); ; {
		fd, err := try(name)
		switch {
		case err == nil:
			return func() {
				_ = os.Remove(name) // while the lock is still held: see try
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
		case <-time.After(retryInterval):
		}
	}
}

// try acquires the lock if it is free and returns the descriptor of the lock file. It returns
// EWOULDBLOCK if the lock is held.
func try(name string) (fd int, err error) {
	fd, err = unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	// The previous holder may have removed the file between our open and our flock. Another process
	// may then have created and locked a new file at the same path.
	var have, there unix.Stat_t
	if unix.Fstat(fd, &have) != nil || unix.Lstat(name, &there) != nil || have.Dev != there.Dev || have.Ino != there.Ino {
		_ = unix.Close(fd)
		return -1, unix.EWOULDBLOCK
	}
	return fd, nil
}
