//go:build e2e

package e2e

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestFreshGuestWithGuards: a guest behind all guards gets its addresses by DHCP and SLAAC. When it
// uses other addresses, its frames are dropped and counted, and its neighbour keeps its traffic.
func TestFreshGuestWithGuards(t *testing.T) {
	ctx := testContext(t)
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	there.Run(t, "ip", "addr", "add", "fd00::9/64", "dev", "far0", "nodad")
	const macA, autoA = "52:54:00:00:00:0a", "fd00::5054:ff:fe00:a"
	s := swtest.Start(t, here, `
[port.a]
allowed_macs = ["`+macA+`"]
allowed_ips = ["10.0.0.100", "`+autoA+`"]
dhcp_guard = true
ra_guard = true
bpdu_guard = true
[port.b]
[uplink.lan]
interface = "nic0"
`)
	configA, configB := guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2)
	configA.MAC, configA.IPs, configA.IperfServer = macA, nil, false
	vms := vm.StartAll(t, configA, configB)
	a, b := vms[0], vms[1]
	drops := func(reason string) uint64 { return s.Port(t, "a").Counters.Drops[reason] }

	// SLAAC with duplicate address detection, which the guests of other tests go without.
	a.MustRun(t, "cd /proc/sys/net/ipv6/conf/eth0 && echo 1 >accept_ra && echo 1 >accept_dad && ip link set eth0 down && ip link set eth0 up")
	fd, mac := packetSocket(t, there, "far0")
	t.Cleanup(func() { unix.Close(fd) })
	advert := routerAdvert(t, mac, "fd00::")
	swtest.Until(t, "the guest has an address in fd00::/64", func() bool {
		_ = unix.Send(fd, advert, 0)
		addresses := a.MustRun(t, "ip -6 addr show dev eth0 scope global")
		return strings.Contains(addresses, autoA) && !strings.Contains(addresses, "tentative")
	})
	serveDHCP(t, there, map[string]string{"far0": "10.0.0.100,10.0.0.100"})
	if addr := dhcp(t, a, 20); addr != "10.0.0.100" {
		t.Fatalf("the guest got the address %q by DHCP", addr)
	}
	mustPing(t, ctx, a, "10.0.0.2")
	mustPing(t, ctx, a, "10.0.0.9")
	mustPing(t, ctx, a, "fd00::2")
	for _, reason := range []string{"ip-spoofed", "mac-spoofed", "dhcp-guard", "ra-guard", "guard-unreadable"} {
		if n := drops(reason); n != 0 {
			t.Errorf("%d frames of an honest guest were dropped as %s", n, reason)
		}
	}

	// The neighbour is pinged all the time.
	stopPings := pingMeanwhile(t, there, "10.0.0.2", "fd00::2")
	// blocked runs a command of the guest until it has caused drops.
	blocked := func(what, reason, command string) {
		t.Helper()
		before := drops(reason)
		swtest.Until(t, what+" is blocked", func() bool {
			if _, err := a.Run(ctx, command); err != nil {
				t.Fatal(err)
			}
			return drops(reason) > before
		})
	}
	macB := b.Config.MAC
	a.MustRun(t, "ip addr add 10.0.0.66/24 dev eth0 && ip addr add fd00::66/64 dev eth0 nodad")
	blocked("a foreign IPv4 source", "ip-spoofed", "ping -c 2 -i 0.2 -W 1 -I 10.0.0.66 10.0.0.9")
	blocked("a foreign IPv6 source", "ip-spoofed", "ping -c 2 -i 0.2 -W 1 -I fd00::66 fd00::2")
	a.MustRun(t, "ip addr add 10.0.0.2/32 dev lo")
	blocked("the neighbour's address in ARP", "ip-spoofed", "arping -U -c 2 -I eth0 -s 10.0.0.2 10.0.0.2")
	a.MustRun(t, "ip addr del 10.0.0.2/32 dev lo")
	for _, c := range []struct {
		what, reason string
		advert       neighbourAdvert
	}{
		{"the neighbour's address in an advertisement", "ip-spoofed", neighbourAdvert{macA, autoA, "fd00::2", macA}},
		{"the neighbour's address as an advertisement's source", "ip-spoofed", neighbourAdvert{macA, "fd00::2", "fd00::2", macA}},
		{"the neighbour's MAC address in an advertisement", "mac-spoofed", neighbourAdvert{macA, autoA, autoA, macB}},
		{"the neighbour's MAC address as the source", "mac-spoofed", neighbourAdvert{macB, autoA, autoA, macA}},
	} {
		blocked(c.what, c.reason, "inject eth0 "+hex.EncodeToString(c.advert.frame(t)))
	}
	mustPing(t, ctx, a, "10.0.0.2") // from its own address, all the time

	a.MustRun(t, "ip link set eth0 down && ip link set eth0 address "+macB+" && ip link set eth0 up")
	blocked("the neighbour's MAC address", "mac-spoofed", "arping -U -c 2 -I eth0 10.0.0.100")
	for _, e := range s.FDB(t) {
		if e.MAC == macB && e.Port != "b" {
			t.Errorf("the FDB has %+v", e)
		}
	}
	stopPings(t)
	for _, addr := range []string{"10.0.0.2", "fd00::2"} {
		if got := there.Run(t, "ip", "neigh", "show", addr); !strings.Contains(got, macB) {
			t.Errorf("the neighbour's address was taken over: %s", got)
		}
	}
}

// A neighbourAdvert is a neighbour advertisement, to all nodes.
type neighbourAdvert struct{ from, source, target, link string }

func (n neighbourAdvert) frame(t *testing.T) []byte {
	t.Helper()
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: net.ParseIP(n.source), DstIP: net.ParseIP("ff02::1"),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	const override = 0x20
	return serialise(t, &layers.Ethernet{SrcMAC: mac(t, n.from), DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, &layers.ICMPv6NeighborAdvertisement{
			Flags: override, TargetAddress: net.ParseIP(n.target),
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac(t, n.link)}},
		})
}

// routerAdvert is a router advertisement with a prefix of 64 bits.
func routerAdvert(t *testing.T, mac net.HardwareAddr, network string) []byte {
	t.Helper()
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: net.ParseIP("fe80::9"), DstIP: net.ParseIP("ff02::1"),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	const onLink, autonomous = 0x80, 0x40
	hour := byte(time.Hour / time.Second >> 8)
	prefix := append([]byte{64, onLink | autonomous, 0, 0, hour, 0, 0, 0, hour, 0, 0, 0, 0, 0}, net.ParseIP(network)...)
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, &layers.ICMPv6RouterAdvertisement{
			HopLimit: 64, Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptPrefixInfo, Data: prefix}},
		})
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
