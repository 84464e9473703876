//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestLACPBetweenGuests bonds the NICs of two guests by LACP, whose frames go to a reserved
// address: each guest finds the other as its partner, but not before the ports let the address
// pass.
func TestLACPBetweenGuests(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	configs := []vm.Config{guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2)}
	for i := range configs {
		configs[i].IPs, configs[i].IperfServer = nil, false
	}
	guests := vm.StartAll(t, configs...)
	for _, g := range guests {
		g.MustRun(t, "ethtool -s eth0 speed 1000 duplex full && ip link set eth0 down && cd /sys/class/net/bond0/bonding && echo 802.3ad >mode && echo fast >lacp_rate && echo 100 >miimon && echo +eth0 >slaves && ip link set bond0 up")
	}
	partner := func(g *vm.VM) string {
		return strings.TrimSpace(g.MustRun(t, "cat /sys/class/net/bond0/bonding/ad_partner_mac"))
	}
	reserved := func(port string) uint64 { return s.Port(t, port).Counters.Drops["reserved-address"] }
	for _, port := range []string{"a", "b"} {
		swtest.Until(t, "LACP frames from "+port+" are dropped", func() bool { return reserved(port) >= 2 })
	}
	for _, g := range guests {
		if p := partner(g); p != "00:00:00:00:00:00" {
			t.Errorf("guest %s has found %s through ports that let no LACP pass", g.Config.Name, p)
		}
	}
	s.Configure(t, "[port.a]\ngroup_fwd_mask = 4\n[port.b]\ngroup_fwd_mask = 4\n")
	s.Signal(t, syscall.SIGHUP)
	for i, g := range guests {
		other := guests[1-i].Config.MAC
		swtest.Until(t, "guest "+g.Config.Name+" finds the other one by LACP", func() bool { return partner(g) == other })
	}
}

// TestDHCPAcrossVLAN: a guest at an access port gets its address from a DHCP server in the VLAN
// beyond an uplink that is a trunk; a guest in another VLAN gets none.
func TestDHCPAcrossVLAN(t *testing.T) {
	ctx := testContext(t)
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Tag(t, "far0", 7)
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	s := swtest.Start(t, here, "[port.a]\ntag = 7\n[port.b]\ntag = 8\n[uplink.lan]\ninterface = \"nic0\"\ntrunks = [7, 8]\n")
	guests := vm.StartAll(t, vm.Config{Name: "a", QEMU: vm.QEMU10, Socket: s.Socket("a")}, vm.Config{Name: "b", QEMU: vm.QEMU10, Socket: s.Socket("b")})
	s.WaitState(t, "lan", control.StateRunning)
	serveDHCP(t, there, map[string]string{"far0": "10.0.0.100,10.0.0.199"})
	a, b := guests[0], guests[1]
	if addr := dhcp(t, a, 20); addr == "" {
		t.Error("a guest in VLAN 7 got no address")
	}
	mustPing(t, ctx, a, "10.0.0.9")
	if addr := dhcp(t, b, 2); addr != "" {
		t.Errorf("a guest in VLAN 8 got %s from VLAN 7", addr)
	}
}
