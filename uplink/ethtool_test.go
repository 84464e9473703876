package uplink

import "testing"

// Commands and flags of linux/ethtool.h that tests use.
const (
	ethtoolSTxCsum = 0x17
	ethtoolSTSO    = 0x1f

	ethFlagTxVLAN = 1 << 7
)

// ethtool sets one of a device's offloads in the caller's network namespace.
func ethtool(t testing.TB, ifname string, cmd, data uint32) uint32 {
	t.Helper()
	v, err := ethtoolValue(ifname, cmd, data)
	if err != nil {
		t.Fatalf("ethtool command %#x on %s: %v", cmd, ifname, err)
	}
	return v
}
