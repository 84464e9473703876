package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// announce delivers an announcement by ARP from a port.
func (l *lab) announce(port string, mac net.HardwareAddr, ip string) {
	l.Helper()
	buf, a := gopacket.NewSerializeBuffer(), net.ParseIP(ip).To4()
	l.must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{},
		&layers.Ethernet{SrcMAC: mac, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: mac, SourceProtAddress: a, DstHwAddress: make([]byte, 6), DstProtAddress: a,
		}))
	for _, m := range l.d.snapshot() {
		if m.cfg.Name == port {
			m.att.SetUp(true) // no guest is connected
			in := m.att.NewInlet()
			in.Deliver([]vswitch.Frame{vswitchtest.Frame(buf.Bytes())})
			in.Close()
		}
	}
}

func (l *lab) wantNeighbors(want ...string) {
	l.Helper()
	var got []string
	for _, n := range l.d.Backend().Neighbors(-1) {
		got = append(got, fmt.Sprintf("%s at %s, VLAN %d, %s", n.IP, n.MAC, n.VLAN, n.Type))
	}
	if !reflect.DeepEqual(got, want) {
		l.Errorf("neighbors %q, want %q", got, want)
	}
}

// A reload sees a change of each setting of a neighbor.
func TestReloadSeesEveryFieldOfNeighbors(t *testing.T) {
	fields := reflect.TypeFor[vswitch.Neighbor]()
	for i := range fields.NumField() {
		var now config.Neighbor
		f := reflect.ValueOf(&now.Neighbor).Elem().Field(i)
		if fields.Field(i).Name == "IP" {
			f.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.1")))
		} else {
			another(t, f)
		}
		if lines := compareNeighbors([]config.Neighbor{{}}, []config.Neighbor{now}); len(lines) != 2 || lines[0] == lines[1] {
			t.Errorf("a change of %s is reported as %q", fields.Field(i).Name, lines)
		}
	}
}

// Configured neighbors come, change and go with the configuration. What the switch has learned
// stays, and a file with a neighbor that cannot be changes nothing.
func TestReloadOfNeighbors(t *testing.T) {
	const ports = "[port.a]\nneigh_suppress = true\n[port.b]\n"
	const router = "[[neigh]]\nip = \"10.0.0.254\"\nmac = \"52:54:00:00:00:fe\"\n"
	l := newLab(t, ports)
	l.announce("a", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, "10.0.0.1")
	const learned = "10.0.0.1 at 52:54:00:00:00:01, VLAN 0, learned"
	l.wantNeighbors(learned)
	l.reload(ports+router, "neighbor 10.0.0.254 at 52:54:00:00:00:fe added")
	l.wantNeighbors(learned, "10.0.0.254 at 52:54:00:00:00:fe, VLAN 0, configured")
	l.reload(ports+router+"vlan = 7\n", "neighbor 10.0.0.254 at 52:54:00:00:00:fe in VLAN 7 added", "neighbor 10.0.0.254 at 52:54:00:00:00:fe removed")
	l.wantNeighbors(learned, "10.0.0.254 at 52:54:00:00:00:fe, VLAN 7, configured")
	_, errs := l.examine(ports + router + router)
	if want := "f:12: neigh[1].ip: 10.0.0.254 is there already, in neigh[0]"; errs.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", errs, want)
	}
	l.wantNeighbors(learned, "10.0.0.254 at 52:54:00:00:00:fe, VLAN 7, configured")
	l.reload(ports, "neighbor 10.0.0.254 at 52:54:00:00:00:fe in VLAN 7 removed")
	l.wantNeighbors(learned)
	l.reload("[port.a]\n[port.b]\n", "port a reconfigured")
	l.wantNeighbors()
}
