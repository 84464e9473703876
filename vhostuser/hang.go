package vhostuser

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Calls that may wait for the peer.
//
// A front-end may send any file descriptor. For some kinds, calls that are expected to return at
// once wait in the kernel for another process, and nothing ends the wait: fstat and close of a file
// in a file system that the front-end serves (FUSE), close of a TCP socket that lingers, or of a
// unix socket in whose queue such a socket is. So calls on a descriptor of unknown kind, and the
// closing of a descriptor that is not known to be harmless, are made in a separate goroutine, with
// a timeout. After the timeout the session ends; the goroutine, and the thread that it occupies,
// remain until the kernel returns. An Account counts these calls, and accepts no session before the
// last one has returned.

// callTimeout limits the wait for a call that should return at once.
const callTimeout = 2 * time.Second

// ErrHung: the front-end sent a file descriptor on which a system call does not return.
var ErrHung = errors.New("a system call on a file descriptor of the front-end's does not return")

// blockingCalls counts calls that have not returned.
type blockingCalls struct{ pending atomic.Int32 }

// run calls f in another goroutine and waits for it to return, for callTimeout at most. After
// ErrHung, f may still be running.
func (b *blockingCalls) run(f func()) error {
	done := make(chan struct{})
	b.pending.Add(1)
	go func() {
		defer close(done)
		defer b.pending.Add(-1)
		f()
	}()
	t := time.NewTimer(callTimeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return ErrHung
	}
}

// close closes fds, except those that are -1.
func (b *blockingCalls) close(fds ...int) error {
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
	return b.run(func() { closeFDs(unknown) })
}

// checkLocal verifies that a file is in a file system in which only the kernel can make a call
// wait. Later calls on the file do not wait for a peer.
func (b *blockingCalls) checkLocal(fd int) error {
	var (
		fs  unix.Statfs_t
		err error
	)
	if herr := b.run(func() { err = unix.Fstatfs(fd, &fs) }); herr != nil {
		return herr
	}
	if err != nil {
		return refuse("memory file: %w", err)
	}
	return isLocal(&fs)
}
