package daemon

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// What comes from the wire reaches the host's stack, as through the interface of a Linux bridge and
// through an interface that is in the bridge: the checks of the kernel's test local_termination.

// A stack is a socket that sees what the kernel hands to the host's stack from an interface that is
// not promiscuous, before any device on top of the interface takes it.
type stack struct {
	*lab
	fd int
}

func (l *lab) stackOn(name string) *stack {
	l.Helper()
	proto := int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { unix.Close(fd) })
	l.must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	l.must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	l.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
	l.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: l.link(name).Attrs().Index}))
	return &stack{l, fd}
}

// kinds of packets, as the kernel sees them
var packetTypes = map[uint8]string{
	unix.PACKET_HOST: "to the host", unix.PACKET_BROADCAST: "broadcast",
	unix.PACKET_MULTICAST: "multicast", unix.PACKET_OTHERHOST: "to somebody else",
}

// next describes the next frame: its payload up to the first 0 byte, its VLAN, and whom the kernel
// takes it to be for.
func (s *stack) next() string {
	s.Helper()
	b, oob := make([]byte, 1<<16), make([]byte, 128)
	n, oobn, _, from, err := unix.Recvmsg(s.fd, b, oob, 0)
	for err == unix.EINTR {
		n, oobn, _, from, err = unix.Recvmsg(s.fd, b, oob, 0)
	}
	if err != nil || n < 60 {
		s.Fatalf("receive %d bytes: %v", n, err)
	}
	vlan := 0
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	s.must(err)
	for _, m := range messages {
		if status := binary.NativeEndian.Uint32(m.Data); status&unix.TP_STATUS_VLAN_VALID != 0 {
			vlan = int(binary.NativeEndian.Uint16(m.Data[16:])) // tp_vlan_tci of struct tpacket_auxdata
		}
	}
	text := unix.ByteSliceToString(b[14:n])
	return fmt.Sprintf("%s, VLAN %d, %s", text, vlan, packetTypes[from.(*unix.SockaddrLinklayer).Pkttype])
}

func TestFramesReachTheHostsStack(t *testing.T) {
	l := newLab(t, "[uplink.lan]\ninterface = \"nic0\"\n[uplink.other]\ninterface = \"nic1\"\n")
	l.quiet()
	far, other := l.addWire("nic0", "far0"), l.addWire("nic1", "far1")
	l.reload("[uplink.lan]\ninterface = \"nic0\"\n[uplink.other]\ninterface = \"nic1\"\n[host.br0]\n", "port br0 added")
	for _, port := range []string{"lan", "other", "br0"} {
		l.state(port, control.StateRunning)
	}
	macvlan := vswitch.MAC{0x02, 0, 0, 0, 0, 0x41}
	src := vswitch.MAC{2, 0, 0, 0, 0, 9}
	end := frame(vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src, etypeExperimental, "end")
	for _, tt := range []struct {
		iface    string
		vlan     uint16
		reserved bool // frames to reserved addresses, which no switch forwards, reach it as well
	}{
		{"br0", 0, false},   // vlan_unaware_bridge, vlan_aware_bridge
		{"br0", 100, false}, // vlan_over_vlan_unaware_bridge, vlan_over_vlan_aware_bridge
		{"nic0", 100, true}, // vlan_over_vlan_unaware_bridged_port, vlan_over_vlan_aware_bridged_port
		{"nic0", 0, true},   // the same without a VLAN
	} {
		t.Run(fmt.Sprintf("%s, VLAN %d", tt.iface, tt.vlan), func(t *testing.T) {
			host := vswitch.MAC(l.link(tt.iface).Attrs().HardwareAddr)
			s := l.stackOn(tt.iface)
			for _, to := range []struct {
				what     string
				mac      vswitch.MAC
				reserved bool
				want     string
			}{
				{"own", host, false, "to the host"},
				{"macvlan", macvlan, false, "to somebody else"},
				{"unknown", vswitch.MAC{0xde, 0xad, 0xbe, 0xef, 0xee, 3}, false, "to somebody else"},
				{"IPv4 group", vswitch.MAC{1, 0, 0x5e, 1, 2, 3}, false, "multicast"},
				{"IPv6 group", vswitch.MAC{0x33, 0x33, 1, 2, 3, 4}, false, "multicast"},
				{"PTP", vswitch.MAC{1, 0x1b, 0x19, 0, 0, 0}, false, "multicast"},
				{"PTP peer delay", vswitch.MAC{1, 0x80, 0xc2, 0, 0, 0xe}, true, "multicast"},
				{"PTP peer delay over IPv4", vswitch.MAC{1, 0, 0x5e, 0, 0, 0x6b}, false, "multicast"},
				{"PTP peer delay over IPv6", vswitch.MAC{0x33, 0x33, 0, 0, 0, 0x6b}, false, "multicast"},
				{"broadcast", vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false, "broadcast"},
			} {
				f := frame(to.mac, src, etypeExperimental, to.what)
				if tt.vlan != 0 {
					f = append(append(f[:12:12], 0x81, 0, byte(tt.vlan>>8), byte(tt.vlan)), f[12:]...)
				}
				far.send(f)
				if to.reserved && !tt.reserved {
					continue
				}
				if got, want := s.next(), fmt.Sprintf("%s, VLAN %d, %s", to.what, tt.vlan, to.want); got != want {
					t.Fatalf("the host got %q, want %q", got, want)
				}
			}
			far.send(end)
			if got := s.next(); got != "end, VLAN 0, broadcast" {
				t.Errorf("then the host got %q", got)
			}
			for _, f := range other.gets(end) {
				if vswitch.MAC(f[:6]) == host {
					t.Errorf("what was for the host went to another port")
				}
			}
		})
	}
}

// A macvlan on a host port has an address to which the switch sends frames, and the host hears the
// groups that its programs join.
func TestDevicesAndGroupsOnAHostPort(t *testing.T) {
	l := newLab(t, "[uplink.lan]\ninterface = \"nic0\"\n")
	l.quiet()
	far := l.addWire("nic0", "far0")
	l.reload("[uplink.lan]\ninterface = \"nic0\"\n[host.br0]\naddresses = [\"192.0.2.2/24\"]\n", "port br0 added")
	l.state("lan", control.StateRunning)
	l.state("br0", control.StateRunning)
	src := vswitch.MAC{2, 0, 0, 0, 0, 9}

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.ParentIndex = "mv0", net.HardwareAddr{2, 0, 0, 0, 0, 0x41}, l.link("br0").Attrs().Index
	l.must(netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE}))
	l.must(netlink.LinkSetUp(l.link("mv0")))
	mv := l.stackOn("mv0")
	far.send(frame(vswitch.MAC(attrs.HardwareAddr), src, etypeExperimental, "macvlan"))
	if got := mv.next(); got != "macvlan, VLAN 0, to the host" {
		t.Errorf("the macvlan got %q", got)
	}

	br0, err := net.InterfaceByName("br0")
	l.must(err)
	group := net.IPv4(225, 1, 2, 3)
	conn, err := net.ListenMulticastUDP("udp4", br0, &net.UDPAddr{IP: group, Port: 4321})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ip := &layers.IPv4{Version: 4, TTL: 8, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: group}
	udp := &layers.UDP{SrcPort: 1234, DstPort: 4321}
	l.must(udp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	l.must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src[:], DstMAC: net.HardwareAddr{1, 0, 0x5e, 1, 2, 3}, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload("to the group, with enough bytes for a frame")))
	far.send(buf.Bytes())
	l.until("the datagram arrives", func() bool {
		b := make([]byte, 100)
		n, _, err := conn.ReadFrom(b)
		return err == nil && string(b[:12]) == "to the group" && n > 12
	})
}
