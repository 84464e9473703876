package virtqueue

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// one is what is added to an eventfd to signal it.
var one = [8]byte{0: 1}

// Signal signals the driver, whether it wants that or not.
//
// The eventfd should be non-blocking: with a full counter the write fails, and a
// signal is pending anyway. But its file description is the front-end's, too, which
// can make it block: whoever set the descriptor has to watch for that and read
// the counter then. So the scheduler hears of the system call, which costs some
// nanoseconds, and a write that blocks does not keep the world from stopping.
func (q *Queue) Signal() {
	if q.callFD < 0 {
		return // what is owed after a start stays owed
	}
	q.mustCall = false
	q.calls++
	// The kernel reads the 8 bytes of one, and no more.
	unix.Syscall(unix.SYS_WRITE, uintptr(q.callFD), uintptr(unsafe.Pointer(&one)), 8)
}
