package uplink

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and flags of linux/ethtool.h that golang.org/x/sys/unix lacks.
const (
	ethtoolGFlags = 0x25
	ethtoolSFlags = 0x26

	ethFlagLRO = 1 << 15
)

// ethtoolValue sends an ethtool command that takes a value to the driver of an interface in the
// caller's network namespace, and returns the value that the kernel left in the request.
//
// In bounds: the kernel reads and writes a struct ethtool_value of two u32, and a struct ifreq of
// 40 bytes at most.
func ethtoolValue(ifname string, cmd, value uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	val := &[2]uint32{cmd, value}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	req.data = unsafe.Pointer(val)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(val)
	if errno != 0 {
		return 0, errno
	}
	return val[1], nil
}
