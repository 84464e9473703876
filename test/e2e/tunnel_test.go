//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// vlanDevice adds a VLAN device to a guest, which gives its frames priority 3.
func vlanDevice(t *testing.T, g *vm.VM, on string, vlan int, addr string) {
	t.Helper()
	name := fmt.Sprintf("%s.%d", on, vlan)
	g.MustRun(t, fmt.Sprintf("ip link set %s up && ip link add link %s name %s type vlan id %d egress-qos-map 0:3 && ip addr add %s/24 dev %s && ip link set %s up",
		on, on, name, vlan, addr, name, name))
	t.Cleanup(func() { g.MustRun(t, "ip link del "+name) })
}

// tags returns the VLAN tags of a frame, with the type of each.
func tags(p gopacket.Packet) (tags []string) {
	var kind layers.EthernetType
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			kind = l.EthernetType
		case *layers.Dot1Q:
			tags = append(tags, fmt.Sprintf("%#x VLAN %d priority %d", uint16(kind), l.VLANIdentifier, l.Priority))
			kind = l.Type
		}
	}
	return tags
}

// tunnelCustomerVLANs has a customer's VLAN go from guest a to guest b through two switches, which
// both have the customer in a tunnel. Frames between the switches have two tags.
func (f *fourGuests) tunnelCustomerVLANs(t *testing.T) {
	ctx := testContext(t)
	const tunnel = "vlan_mode = \"dot1q-tunnel\"\ntag = 100\npriority = 5\ncvlans = [0, 5]\n"
	f.configure(t, "", portKeys{"a": tunnel}, "")
	f.beyond.Reload(t, beyondAlone+tunnel+"[uplink.wan]\ninterface = \"far0\"\n")
	t.Cleanup(func() { f.beyond.Reload(t, beyondAlone) })
	// A veth takes frames with one tag beyond its MTU, and not with two.
	for ns, iface := range map[*swtest.Netns]string{f.here: "nic0", f.there: "far0"} {
		ns.Run(t, "ip", "link", "set", iface, "mtu", "1504")
		t.Cleanup(func() { ns.Run(t, "ip", "link", "set", iface, "mtu", "1500") })
	}
	swtest.Until(t, "the uplinks know their MTU", func() bool {
		return f.s.Port(t, "lan").MTU == 1504 && f.beyond.Port(t, "wan").MTU == 1504
	})
	vlanDevice(t, f.a, "eth0", 5, "10.5.0.1")
	vlanDevice(t, f.b, "eth1", 5, "10.5.0.2")

	const n = 20
	wire := captureNetns(t, f.there, "far0", "ether src "+f.a.Config.MAC, n)
	mustPing(t, ctx, f.a, "10.5.0.2", "-s", "1472", "-M", "do", "-c", fmt.Sprint(n))
	full := 0
	for _, p := range wire(t) {
		got := tags(p)
		if len(got) == 0 || got[0] != "0x88a8 VLAN 100 priority 5" {
			t.Errorf("on the wire is a frame with the tags %q", got)
		}
		if len(got) == 2 && p.Layer(layers.LayerTypeICMPv4) != nil {
			if got[1] != "0x8100 VLAN 5 priority 3" {
				t.Errorf("the customer's tag has become %q", got[1])
			}
			if len(p.Data()) == 14+4+4+1500 {
				full++
			}
		}
	}
	if full == 0 {
		t.Errorf("no frame of full size was on the wire")
	}
	mustFlow(t, f.a, "10.5.0.2", "-size 1472")
	mustFlow(t, f.b, "10.5.0.1", "-size 1472")

	// Frames without the customer's tag pass as well, and those of another VLAN do not.
	f.a.MustRun(t, "ip addr add 10.7.0.1/24 dev eth0")
	f.b.MustRun(t, "ip addr add 10.7.0.2/24 dev eth1")
	t.Cleanup(func() {
		f.a.MustRun(t, "ip addr del 10.7.0.1/24 dev eth0")
		f.b.MustRun(t, "ip addr del 10.7.0.2/24 dev eth1 && ip link set eth1 down")
	})
	mustPing(t, ctx, f.a, "10.7.0.2", "-s", "1472", "-M", "do")
	vlanDevice(t, f.a, "eth0", 6, "10.6.0.1")
	vlanDevice(t, f.b, "eth1", 6, "10.6.0.2")
	noPing(t, f.a, "10.6.0.2")
	if n := f.s.Port(t, "a").Counters.Drops["vlan"]; n == 0 {
		t.Error("no frame of a VLAN that the tunnel does not carry was dropped")
	}
}

// trunkPriorities: the priority in a tag is the one that the guest has set, unless the port
// overrides it.
func (f *fourGuests) trunkPriorities(t *testing.T) {
	vlanDevice(t, f.a, "eth0", 5, "10.5.0.1")
	// A neighbour that nobody is, so that the frames are flooded.
	f.a.MustRun(t, "ip neigh replace 10.5.0.77 lladdr 52:54:00:00:00:77 dev eth0.5 nud permanent")
	for _, c := range []struct{ keys, want string }{
		{"", "0x8100 VLAN 5 priority 3"},
		{"priority = 6", "0x8100 VLAN 5 priority 3"},
		{"priority = 6\npriority_override = true", "0x8100 VLAN 5 priority 6"},
	} {
		f.configure(t, "", portKeys{"a": c.keys}, "")
		wire := captureNetns(t, f.there, "far0", "vlan 5 and icmp and ether src "+f.a.Config.MAC, 2)
		noPing(t, f.a, "10.5.0.77")
		for _, p := range wire(t) {
			if got := tags(p); len(got) != 1 || got[0] != c.want {
				t.Errorf("with %q, a frame has the tags %q, want %q", c.keys, got, c.want)
			}
		}
	}
}
