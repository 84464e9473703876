package vswitch_test

import (
	"fmt"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Nothing passes from the ports of one switch to those of another in the same process, whatever the
// frame and its VLAN: the check two_bridges of the kernel's test no_forwarding.
func TestSwitchesShareNothing(t *testing.T) {
	one, two := newLab(t, vswitch.Config{}), newLab(t, vswitch.Config{})
	one.addAll("swp1")
	two.addAll("swp2")
	two.send("swp2", ether(broadcast, macB, "here"))
	for _, dst := range []vswitch.MAC{macB, broadcast, multicast, {1, 2, 3, 4, 5, 6}, {0x33, 0x33, 0, 0, 0, 1}} {
		one.send("swp1", ether(dst, macA, "untagged"))
		for _, vlan := range []uint16{0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 4094} {
			one.send("swp1", ether(dst, macA, fmt.Sprint(vlan), vswitchtest.Tag{Type: 0x8100, TCI: vlan}))
		}
	}
	two.want("the other switch's port", got{})
	two.wantWhere(macA, 0, "")
	one.drops("swp1", drops{"no-destination": 5 * 15})
	two.drops("swp2", drops{"no-destination": 1})
}
