package uplink

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of linux/ethtool.h that golang.org/x/sys/unix lacks.
const (
	ethtoolSTxCsum = 0x17
	ethtoolSTSO    = 0x1f
	ethtoolGFlags  = 0x25
	ethtoolSFlags  = 0x26

	ethFlagTxVLAN = 1 << 7
)

// ethtool sets one of a device's offloads in the caller's network namespace, and
// returns the value that the kernel left in the request.
//
// In bounds: the kernel reads and writes a struct ethtool_value of two u32, and
// a struct ifreq of 40 bytes at most.
func ethtool(t testing.TB, ifname string, cmd, data uint32) uint32 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	val := &[2]uint32{cmd, data}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	req.data = unsafe.Pointer(val)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); e != 0 {
		t.Fatalf("ethtool command %#x on %s: %v", cmd, ifname, e)
	}
	return val[1]
}
