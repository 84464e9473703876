package virtqueue

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// one is what is added to an eventfd to signal it.
var one = [8]byte{0: 1}

// Signal signals the driver, whether it wants that or not.
//
// The system call is made raw: it does not block (an eventfd in non-blocking mode
// fails with EAGAIN when its counter is full, and then a signal is pending
// anyway), so that the scheduler need not hear of it.
func (q *Queue) Signal() {
	if q.callFD < 0 {
		return // what is owed after a start stays owed
	}
	q.mustCall = false
	q.calls++
	// The kernel reads the 8 bytes of one, and no more.
	unix.RawSyscall(unix.SYS_WRITE, uintptr(q.callFD), uintptr(unsafe.Pointer(&one)), 8)
}
