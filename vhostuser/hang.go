package vhostuser

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Calls that may wait for the peer.
//
// A front-end may send any file descriptor. For some, calls that are expected to return at once wait
// in the kernel for somebody else, and nothing ends the wait: fstat and close of a file in a file
// system that the front-end serves (FUSE), close of a TCP socket that lingers, or of a unix socket
// in whose queue such a socket is. So calls on a descriptor of which nothing is known, and the
// closing of what is not known to be harmless, are made in a goroutine that is waited for only so
// long. The session ends then; the goroutine, and the thread that it keeps, remain until the
// kernel returns. An Account counts those, and takes no session before the last one has ended.

// patience is how long a call that should return at once is waited for.
const patience = 2 * time.Second

// ErrHung is why a session ends that sent a file descriptor on which a system call does not return.
var ErrHung = errors.New("a system call on a file descriptor of the front-end's does not return")

// A hanging counts calls that have not returned.
type hanging struct{ calls atomic.Int32 }

// try calls f, in another goroutine, and waits for f to return, but not longer than patience. After
// ErrHung, f may still be running.
func (h *hanging) try(f func()) error {
	done := make(chan struct{})
	h.calls.Add(1)
	go func() {
		defer close(done)
		defer h.calls.Add(-1)
		f()
	}()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return ErrHung
	}
}

// close closes those of fds that are file descriptors.
func (h *hanging) close(fds ...int) error {
	var unknown []int
	for _, fd := range fds {
		switch {
		case fd < 0:
		case isEventFD(fd):
			closeFD(fd)
		default:
			unknown = append(unknown, fd)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return h.try(func() { closeFDs(unknown) })
}

// checkLocal verifies that a file is in a file system of which nobody but the kernel can make a
// call wait. Calls on the file that come after this one do not wait.
func (h *hanging) checkLocal(fd int) error {
	var (
		fs  unix.Statfs_t
		err error
	)
	if herr := h.try(func() { err = unix.Fstatfs(fd, &fs) }); herr != nil {
		return herr
	}
	if err != nil {
		return refuse("memory file: %w", err)
	}
	return isLocal(&fs)
}
