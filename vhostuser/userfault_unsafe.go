package vhostuser

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A userfault is a file descriptor of userfaultfd(2), with which mappings are registered. They stay
// registered until they are unmapped or the descriptor is closed.
type userfault struct{ fd int }

// From linux/userfaultfd.h. The numbers of the ioctls are those of architectures that use the
// encoding of asm-generic/ioctl.h; the others refuse them.
const (
	uffdUserModeOnly = 1 // faults in system calls are not handled: the calls fail with EFAULT

	uffdAPI             = 0xaa
	uffdFeatureHugeTLB  = 1 << 4
	uffdFeatureSIGBUS   = 1 << 7
	uffdRegisterMissing = 1
	uffdCopyDontWake    = 1

	uffdioAPI      = 0xc018aa3f
	uffdioRegister = 0xc020aa00
	uffdioCopy     = 0xc028aa03
)

// openUserfault makes accesses to absent pages raise SIGBUS in the accessing thread: "the faulting
// process will be sent a SIGBUS signal" (UFFD_FEATURE_SIGBUS in ioctl_userfaultfd(2)). A process
// needs no privilege for that.
func openUserfault() (*userfault, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("userfaultfd: %w", errno)
	}
	u := &userfault{int(fd)}
	api := struct{ api, features, ioctls uint64 }{uffdAPI, uffdFeatureSIGBUS, 0}
	err := u.ioctl(uffdioAPI, unsafe.Pointer(&api))
	if err == nil && api.features&uffdFeatureHugeTLB == 0 {
		err = errors.New("the kernel does not support huge pages")
	}
	if err != nil {
		u.close()
		return nil, fmt.Errorf("userfaultfd: %w", err)
	}
	return u, nil
}

func (u *userfault) close() { unix.Close(u.fd) }

// register starts watching mem, a mapping of whole pages.
func (u *userfault) register(mem []byte) error {
	r := struct{ start, len, mode, ioctls uint64 }{uint64(address(mem)), uint64(len(mem)), uffdRegisterMissing, 0}
	if err := u.ioctl(uffdioRegister, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("userfaultfd: registering %#x bytes: %w", len(mem), err)
	}
	return nil
}

// provide fills an absent page with content, of the same size. EEXIST: the page is already present.
func (u *userfault) provide(page, content []byte) error {
	c := struct {
		dst, src, len, mode uint64
		copy                int64
	}{uint64(address(page)), uint64(address(content)), uint64(len(page)), uffdCopyDontWake, 0}
	return u.ioctl(uffdioCopy, unsafe.Pointer(&c))
}

func (u *userfault) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u.fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// firstWord returns a pointer to the first four bytes of a page.
func firstWord(page []byte) *uint32 { return (*uint32)(unsafe.Pointer(unsafe.SliceData(page))) }
