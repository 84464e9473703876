package load

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// longestNap bounds the time for which the garbage collector may have to wait for the thread.
const longestNap = 5 * time.Millisecond

// nap is epoll_wait for longestNap at most, unknown to the Go runtime, whose share would be
// measured as well otherwise. It must not be inlined: a loop that did nothing but this system call
// could never be stopped by the garbage collector, which needs a call of a function for that.
//
//go:noinline
func nap(epoll int) (n int, err error) {
	var events [1]unix.EpollEvent
	ts := unix.NsecToTimespec(int64(longestNap))
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events)), 1,
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
