package uplink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kernelTakesUSO reports whether the kernel takes VIRTIO_NET_HDR_GSO_UDP_L4 from packet sockets:
// since Linux 6.2 ("linux/virtio_net.h: Support USO offload in vnet header"). The kernel cannot be
// asked: an older kernel refuses a frame of that type and a newer one sends it, and an uplink does
// not send test frames on the operator's network to find out.
func kernelTakesUSO() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	return atLeast(unix.ByteSliceToString(u.Release[:]), 6, 2)
}

// atLeast compares the first two numbers of a kernel release.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
