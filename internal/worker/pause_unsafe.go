package worker

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pauseAtMost is the longest time for which a thread sleeps in a system call of which the Go
// runtime does not know, and sharedPauseAtMost the same if there are other workers: these have to
// stop, too, while the garbage collector waits for one that sleeps.
const (
	pauseAtMost       = 5 * time.Millisecond
	sharedPauseAtMost = time.Millisecond
)

// canPause reports whether the kernel has epoll_pwait2 (Linux 5.11), and vswitchd may use it.
func canPause() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = epollPause(fd, make([]unix.EpollEvent, 1), 0)
	return err == nil
}

// epollPause is epoll_wait for at most d, which is at most pauseAtMost.
//
// The runtime is not told of the system call. If it were, its monitor thread would wake every 20
// µs as long as there are such calls, to take the processor's context (P) away from threads that
// are in one, and this thread would have to get another context afterwards: that costs two or three
// times what the wake-up itself does. The price is that the garbage collector, when it stops all
// goroutines, waits until this one comes back: a signal of the runtime interrupts the call, unless
// the signal comes just before the call; then d has to pass. After each call, the goroutine has to
// call a function that can be preempted, as the loop of a worker does: one that did nothing but
// sleep would never stop.
func epollPause(epfd int, events []unix.EpollEvent, d time.Duration) (n int, err error) {
	ts := unix.NsecToTimespec(int64(d))
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
