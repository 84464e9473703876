package vhostuser

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkEventFD verifies that fd, which came from a front-end, is an eventfd, and
// makes it non-blocking.
//
// Anything else may block whoever writes to it (a full pipe does, or a file
// whose file system runs in the front-end), and a blocked data-plane thread
// is every guest's problem. The specification allows pipes for systems without
// eventfd; on Linux no front-end uses them.
func checkEventFD(fd int) error {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return fmt.Errorf("looking at a file descriptor: %w", err)
	}
	if kind != "anon_inode:[eventfd]" {
		return refuse("file descriptor is %q, not an eventfd", kind)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}
