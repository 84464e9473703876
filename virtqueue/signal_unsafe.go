package virtqueue

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// one is the value that is added to an eventfd to signal it.
var one = [8]byte{0: 1}

// Signal signals the driver, whether or not the driver asked for that.
//
// The eventfd should be non-blocking: when its counter is full the write fails, and a signal is
// pending anyway. But its file description is shared with the front-end, which can make it block:
// whoever set the descriptor has to watch for that and then read the counter. For this reason the
// system call is announced to the scheduler, at a cost of some nanoseconds: a write that blocks
// then cannot delay stopping the world.
func (q *Queue) Signal() {
	if q.callFD < 0 {
		return // mustCall stays set until there is an eventfd
	}
	q.mustCall = false
	q.calls++
	// The kernel reads the 8 bytes of one, and no more.
	unix.Syscall(unix.SYS_WRITE, uintptr(q.callFD), uintptr(unsafe.Pointer(&one)), 8)
}
