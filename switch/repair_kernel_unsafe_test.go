//go:build e2e

package vswitch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// turnOffOffloads turns off all offloads of a network interface in the current namespace. Without
// checksums, the kernel turns off all segmentation as well; TSO and GSO are turned off explicitly
// to be sure.
func turnOffOffloads(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, command := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_STXCSUM} {
		// struct ethtool_value, and struct ifreq with a pointer to it. The kernel reads no more
		// than these, and both are live until the call returns.
		value := struct{ command, data uint32 }{command: command}
		var request struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		request.data = unsafe.Pointer(&value)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return fmt.Errorf("ethtool command %#x on %s: %w", command, name, errno)
		}
	}
	return nil
}
