package vhostuser

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// isEventFD tells whether fd is an eventfd.
func isEventFD(fd int) bool {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err == nil && kind == "anon_inode:[eventfd]"
}

// checkEventFD verifies that fd, which came from a front-end, is an eventfd, and
// makes it non-blocking.
//
// Anything else may block whoever writes to it or reads from it, for as long as the front-end
// likes, and a blocked data-plane thread is every guest's problem. (For eventfds see watch.go.)
//
// The specification allows pipes for systems without eventfd. They are refused: who reads or
// writes a pipe holds its mutex while the kernel copies from or to his memory. A front-end whose
// memory there is absent, and is provided by a thread of its own (userfaultfd, FUSE),
// holds up everyone else at the pipe, in a sleep that not even a signal that kills ends,
// and O_NONBLOCK makes no difference. No front-end is known to use pipes. (What User Mode Linux
// calls a pipe in its driver is a pair of sockets, for calls alone, and those are taken: see
// Session.setVringCall.)
func checkEventFD(fd int) error {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	switch {
	case err != nil:
		return fmt.Errorf("looking at a file descriptor: %w", err)
	case strings.HasPrefix(kind, "pipe:"):
		return refuse("file descriptor is a pipe, which can make whoever uses it wait; an eventfd is needed")
	case kind != "anon_inode:[eventfd]":
		return refuse("file descriptor is %q, not an eventfd", kind)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}
