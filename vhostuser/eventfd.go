package vhostuser

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// isEventFD reports whether fd is an eventfd.
func isEventFD(fd int) bool {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err == nil && kind == "anon_inode:[eventfd]"
}

// checkEventFD verifies that fd, which came from a front-end, is an eventfd, and makes it
// non-blocking.
//
// Reading or writing anything else may block for as long as the front-end likes, and a blocked
// data-plane thread affects every guest. (For eventfds see watch.go.)
//
// The specification allows pipes for systems without eventfd. They are refused: reading or writing
// a pipe holds the pipe's mutex while the kernel copies from or to the caller's memory. If a
// front-end calls read or write with absent memory that is provided by another of its threads
// (userfaultfd, FUSE), every other user of the pipe is held up, in a sleep that not even a fatal
// signal ends, and O_NONBLOCK makes no difference. No front-end is known to use pipes. (The "pipe"
// in the driver of User Mode Linux is a pair of sockets, used only for calls, and these are
// accepted: see Session.setVringCall.)
func checkEventFD(fd int) error {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	switch {
	case err != nil:
		return fmt.Errorf("looking at a file descriptor: %w", err)
	case strings.HasPrefix(kind, "pipe:"):
		return refuse("file descriptor is a pipe, which can block its users; an eventfd is needed")
	case kind != "anon_inode:[eventfd]":
		return refuse("file descriptor is %q, not an eventfd", kind)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}
