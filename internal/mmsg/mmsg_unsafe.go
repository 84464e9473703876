// Package mmsg has sendmmsg(2), which golang.org/x/sys/unix lacks: many messages with one
// system call.
package mmsg

import (
	"unsafe"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

// A Header is struct mmsghdr: one message.
type Header struct {
	hdr unix.Msghdr
	len uint32 // bytes sent; the padding behind it is Go's as it is C's
}

// Send sends msgs without waiting and returns how many went. 0 < n <
// len(msgs): the n-th was refused, and sending it again returns the reason. n == 0: the
// errno is that of the first.
//
// In bounds: the kernel reads and writes len(msgs) structures at msgs, which is
// not empty, and reads the iovecs that they point to, whose number SetIovecs
// takes from the length of a slice. Addresses inside the iovecs may be bad: the
// kernel then answers EFAULT.
//
// This is unix.Syscall and not RawSyscall because the kernel may have to wait
// for a page of a guest's memory, which must not stop the garbage collector.
func Send(fd int, msgs []Header) (n int, errno unix.Errno) {
	r, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// SetIovecs makes h a message of iovs, which is not empty.
func (h *Header) SetIovecs(iovs []unix.Iovec) {
	h.hdr.Iov = unsafe.SliceData(iovs)
	h.hdr.SetIovlen(len(iovs))
}

// Iovec returns b, which is not empty, as an iovec.
func Iovec(b []byte) (v unix.Iovec) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	return v
}
