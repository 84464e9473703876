//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	const macA = "52:54:00:00:00:0a"
	s := swtest.Start(t, here, `
[port.a]
allowed_macs = ["`+macA+`"]
allowed_ips = ["10.0.0.100", "fd00::/64"]
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
		return strings.Contains(addresses, "fd00:") && !strings.Contains(addresses, "tentative")
	})
	lease(t, there)
	a.MustRun(t, `echo '[ "$1" != bound ] || ip addr add $ip/24 dev $interface' >/tmp/lease && sed -i '1i #!/bin/sh' /tmp/lease && chmod +x /tmp/lease && udhcpc -i eth0 -n -q -t 20 -T 1 -s /tmp/lease`)
	if got := a.MustRun(t, "ip -4 addr show dev eth0"); !strings.Contains(got, "10.0.0.100/24") {
		t.Fatalf("no address by DHCP: %s", got)
	}
	mustPing(t, ctx, a, "10.0.0.2")
	mustPing(t, ctx, a, "10.0.0.9")
	mustPing(t, ctx, a, "fd00::2")
	for _, reason := range []string{"ip-spoofed", "mac-spoofed", "dhcp-guard", "ra-guard"} {
		if n := drops(reason); n != 0 {
			t.Errorf("%d frames of an honest guest were dropped as %s", n, reason)
		}
	}

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
	a.MustRun(t, "ip addr add 10.0.0.66/24 dev eth0 && ip addr add fd01::66/64 dev eth0 nodad")
	blocked("a foreign IPv4 source", "ip-spoofed", "ping -c 2 -i 0.2 -W 1 -I 10.0.0.66 10.0.0.9")
	blocked("a foreign IPv6 source", "ip-spoofed", "ping -c 2 -i 0.2 -W 1 -I fd01::66 fd00::2")
	a.MustRun(t, "ip addr add 10.0.0.2/32 dev lo")
	blocked("the neighbour's address in ARP", "ip-spoofed", "arping -U -c 2 -I eth0 -s 10.0.0.2 10.0.0.2")
	a.MustRun(t, "ip addr del 10.0.0.2/32 dev lo")
	there.Run(t, "ping", "-c", "20", "-i", "0.01", "-W", "5", "-q", "10.0.0.2")
	if got := there.Run(t, "ip", "neigh", "show", "10.0.0.2"); !strings.Contains(got, b.Config.MAC) {
		t.Errorf("the neighbour's address was taken over: %s", got)
	}
	mustPing(t, ctx, a, "10.0.0.2") // from its own address, all the time

	a.MustRun(t, "ip link set eth0 down && ip link set eth0 address "+b.Config.MAC+" && ip link set eth0 up")
	blocked("the neighbour's MAC address", "mac-spoofed", "arping -U -c 2 -I eth0 10.0.0.100")
	for _, e := range s.FDB(t) {
		if e.MAC == b.Config.MAC && e.Port != "b" {
			t.Errorf("the FDB has %+v", e)
		}
	}
	there.Run(t, "ping", "-c", "20", "-i", "0.01", "-W", "5", "-q", "10.0.0.2")
}

// lease runs a DHCP server in a namespace, which has one address to give.
func lease(t *testing.T, ns *swtest.Netns) {
	t.Helper()
	dir := t.TempDir()
	leases, conf := filepath.Join(dir, "leases"), filepath.Join(dir, "udhcpd.conf")
	writeFile(t, leases, "")
	writeFile(t, conf, fmt.Sprintf("start 10.0.0.100\nend 10.0.0.100\ninterface far0\nlease_file %s\npidfile %s/pid\noption subnet 255.255.255.0\n", leases, dir))
	cmd := ns.Command("busybox", "udhcpd", "-f", conf)
	cmd.Stderr = os.Stderr
	start(t, cmd)
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
