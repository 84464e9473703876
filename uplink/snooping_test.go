package uplink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// Comparison with a Linux bridge that snoops: which stations get the frames of which groups, when
// the kernels of stations join and leave groups and one station is a querier.

// A listener is a station with a kernel that can join groups.
type listener struct {
	*tunnelEnd
	*station
	index int
}

// newListeners makes n stations, each in its own namespace, behind interfaces s0, s1 ... here.
func newListeners(t *testing.T, n int) (all []*listener, names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("s%d", i))
		e := newTunnelEnd(t, names[i], byte(i+1))
		l := &listener{tunnelEnd: e}
		e.inFar(func() error {
			dir := "/proc/sys/net/ipv6/conf/" + farName
			for _, w := range [][2]string{{dir + "/accept_dad", "0"}, {dir + "/disable_ipv6", "0"}} {
				if err := os.WriteFile(w[0], []byte(w[1]), 0); err != nil {
					return err
				}
			}
			link, err := netlink.LinkByName(farName)
			if err != nil {
				return err
			}
			l.index = link.Attrs().Index
			if err := address(link, fmt.Sprintf("10.9.0.%d/24", i+1)); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
		l.station = e.lab.station(false)
		all = append(all, l)
	}
	return all, names
}

// oldVersions makes the station's kernel report with IGMPv2 and MLDv1.
func (l *listener) oldVersions() {
	l.tunnelEnd.t.Helper()
	l.inFar(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+farName+"/force_igmp_version", []byte("2"), 0); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+farName+"/force_mld_version", []byte("1"), 0)
	})
}

// join has the station's kernel join a group, until the returned function is called.
func (l *listener) join(group netip.Addr) (leave func()) {
	l.tunnelEnd.t.Helper()
	fd := -1
	l.inFar(func() (err error) {
		if group.Is4() {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(l.index)})
		}
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(l.index)})
	})
	return func() { unix.Close(fd) }
}

// groupMAC returns the Ethernet address of a group.
func groupMAC(group netip.Addr) net.HardwareAddr {
	b := group.AsSlice()
	if group.Is4() {
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return append(net.HardwareAddr{0x33, 0x33}, b[12:]...)
}

// groupFrame makes a frame with an IP packet from station number n to a group.
func groupFrame(t *testing.T, n int, group netip.Addr, v4, v6 []gopacket.SerializableLayer) []byte {
	t.Helper()
	src := net.HardwareAddr{2, 0, 0, 0, 9, byte(n)}
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: groupMAC(group), EthernetType: layers.EthernetTypeIPv6}
	all := append([]gopacket.SerializableLayer{eth}, v6...)
	if group.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		all = append([]gopacket.SerializableLayer{eth}, v4...)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// datagram makes a frame with a datagram to a group.
func datagram(t *testing.T, n int, group netip.Addr, payload []byte) []byte {
	ip4 := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 9, 0, byte(n+1)), DstIP: group.AsSlice()}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: routerIPv6.AsSlice(), DstIP: group.AsSlice()}
	udp4, udp6 := &layers.UDP{SrcPort: 9, DstPort: 9}, &layers.UDP{SrcPort: 9, DstPort: 9}
	_, _ = udp4.SetNetworkLayerForChecksum(ip4), udp6.SetNetworkLayerForChecksum(ip6)
	return groupFrame(t, n, group, []gopacket.SerializableLayer{ip4, udp4, gopacket.Payload(payload)},
		[]gopacket.SerializableLayer{ip6, udp6, gopacket.Payload(payload)})
}

var (
	routerIPv6 = netip.MustParseAddr("fe80::99")
	allHosts4  = netip.MustParseAddr("224.0.0.1")
	allHosts6  = netip.MustParseAddr("ff02::1")
)

// query makes an IGMPv2 or MLDv1 query to a group, about that group unless it is that of all hosts,
// to be answered within a tenth of a second.
func query(t *testing.T, group netip.Addr) []byte {
	about := group.AsSlice()
	if group == allHosts4 || group == allHosts6 {
		clear(about)
	}
	igmp := append([]byte{0x11, 1, 0, 0}, about...)
	binary.BigEndian.PutUint16(igmp[2:], onesSum(igmp))
	ip4 := &layers.IPv4{
		Version: 4, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: net.IPv4(10, 9, 0, 1), DstIP: group.AsSlice(),
		Options: []layers.IPv4Option{{OptionType: 0x94, OptionLength: 4, OptionData: []byte{0, 0}}},
	}
	mld := append([]byte{130, 0, 0, 0, 0, 100, 0, 0}, about...)
	pseudo := slices.Concat(routerIPv6.AsSlice(), group.AsSlice(), []byte{0, 0, 0, byte(len(mld)), 0, 0, 0, 58}, mld)
	binary.BigEndian.PutUint16(mld[2:], onesSum(pseudo))
	ip6 := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolIPv6HopByHop, SrcIP: routerIPv6.AsSlice(), DstIP: group.AsSlice()}
	alert := []byte{58, 0, 5, 2, 0, 0, 1, 0}
	return groupFrame(t, 0, group, []gopacket.SerializableLayer{ip4, gopacket.Payload(igmp)},
		[]gopacket.SerializableLayer{ip6, gopacket.Payload(slices.Concat(alert, mld))})
}

// onesSum returns the Internet checksum of b, which has an even length.
func onesSum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A snoopingLab is stations, of which the first is the router and the last one sends.
type snoopingLab struct {
	t     *testing.T
	all   []*listener
	probe int
}

// reach returns the numbers of the stations that get a datagram to a group from the last station.
func (l *snoopingLab) reach(group netip.Addr) string {
	l.t.Helper()
	return l.reachWith(func(n int, payload []byte) []byte { return datagram(l.t, n, group, payload) })
}

// reachWith is reach for a frame that station number n sends.
func (l *snoopingLab) reachWith(frame func(n int, payload []byte) []byte) string {
	l.t.Helper()
	l.probe++
	last := len(l.all) - 1
	payload := fmt.Appendf(nil, "probe %d of groups", l.probe)
	marker := ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, net.HardwareAddr{2, 0, 0, 0, 9, byte(last)}, ethExperimental, 60, l.probe)
	l.all[last].send(frame(last, payload))
	l.all[last].send(marker)
	var got []string
	for i, s := range l.all[:last] {
		for {
			b := s.receive()
			if bytes.Equal(b, marker) {
				break
			}
			if bytes.Contains(b, payload) {
				got = append(got, fmt.Sprint(i))
			}
		}
	}
	return strings.Join(got, " ")
}

// want waits until frames to each group reach the stations that they should reach.
func (l *snoopingLab) want(when string, want map[string]string) {
	l.t.Helper()
	for group, stations := range want {
		g := netip.MustParseAddr(group)
		waitFor(l.t, fmt.Sprintf("frames to %s to reach the stations %q (%s)", group, stations, when), func() bool {
			return l.reach(g) == stations
		})
	}
}

// wantNeighbours has the last station's kernel send to station 1, whose address it has to find by
// neighbour discovery.
func (l *snoopingLab) wantNeighbours() {
	l.t.Helper()
	from, to := l.all[len(l.all)-1], l.all[1]
	var address net.IP
	to.far(func(link netlink.Link) error {
		list, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("%d IPv6 addresses", len(list))
		}
		if err == nil {
			address = list[0].IP
		}
		return err
	})
	payload := []byte("to a neighbour")
	from.inFar(func() error {
		c, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: address, Port: 9, Zone: farName})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(payload)
		return err
	})
	for !bytes.Contains(to.receive(), payload) {
	}
}

// play has stations join and leave, and checks after each step who gets what.
func (l *snoopingLab) play() {
	g4, g6 := netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("ff05::1:3")
	router := l.all[0]
	const every = "0 1 2"
	l.want("no querier", map[string]string{"239.1.1.1": every, "ff05::1:3": every})

	// A bridge ignores MLD queries of others while its own first query is due, although it will not
	// send that; so the router asks more than once, as routers do when they start.
	waitFor(l.t, "the queries to take effect", func() bool {
		router.send(query(l.t, allHosts4))
		router.send(query(l.t, allHosts6))
		return l.reach(g4) == "0" && l.reach(g6) == "0"
	})
	l.want("a querier, nobody has joined", map[string]string{
		"239.1.1.1": "0", "ff05::1:3": "0", "224.0.0.251": every, "ff02::1": every,
	})
	leave4, leave6 := l.all[1].join(g4), l.all[1].join(g6)
	l.want("one has joined", map[string]string{"239.1.1.1": "0 1", "ff05::1:3": "0 1", "239.1.1.2": "0", "ff05::1:4": "0"})

	l.all[2].oldVersions()
	defer l.all[2].join(g4)()
	defer l.all[2].join(g6)()
	l.want("another has joined by the old versions", map[string]string{"239.1.1.1": every, "ff05::1:3": every})

	leave4()
	leave6()
	// Routers ask about a group twice, a second apart.
	asked := time.Time{}
	waitFor(l.t, "the first station's memberships to end", func() bool {
		if time.Since(asked) > time.Second {
			asked = time.Now()
			router.send(query(l.t, g4))
			router.send(query(l.t, g6))
		}
		return l.reach(g4) == "0 2" && l.reach(g6) == "0 2"
	})
	l.want("the first has left, and the router has asked", map[string]string{"239.1.1.1": "0 2", "ff05::1:3": "0 2"})
	l.wantNeighbours()
	l.want("nobody else is affected", map[string]string{"239.1.1.2": "0", "224.0.0.251": every})
}

func TestSnoopsLikeABridge(t *testing.T) {
	t.Run("bridge", func(t *testing.T) {
		all, names := newListeners(t, 4)
		defer joinByBridge(t, names...)()
		(&snoopingLab{t: t, all: all}).play()
	})
	t.Run("switch", func(t *testing.T) {
		all, names := newListeners(t, 4)
		sw := vswitch.New(vswitch.Config{Mcast: vswitch.McastConfig{Snooping: true}})
		_, _, part := joinTo(t, sw, names...)
		defer part()
		(&snoopingLab{t: t, all: all}).play()
	})
}
