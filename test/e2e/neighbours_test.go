//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

const suppress = "neigh_suppress = true"

var suppressing = portKeys{"a": suppress, "b": suppress, "c": suppress, "d": suppress}

// requestsFrom is a filter for flooded ARP requests and neighbour solicitations of a guest. (To
// tcpdump, "and" and "or" have the same precedence.)
func requestsFrom(g *vm.VM) string {
	return "ether src " + g.Config.MAC + " and ether multicast and (arp or (icmp6 and ip6[40] == 135))"
}

// known waits until the switch knows who has an IP address.
func (f *fourGuests) known(t *testing.T, ip, mac, port string) {
	t.Helper()
	swtest.Until(t, "the switch knows "+ip, func() bool {
		for _, n := range f.s.Neighbors(t) {
			if n.IP == ip && n.MAC == mac && n.Port == port {
				return true
			}
		}
		return false
	})
}

// answerForNeighbours: guests find each other, and are not asked themselves; the switch answers.
// Duplicate address detection finds addresses that are in use, and no others.
func (f *fourGuests) answerForNeighbours(t *testing.T) {
	ctx := testContext(t)
	f.configure(t, "", suppressing, "")
	forget(t, f.all()...)
	for _, g := range f.all() {
		mustPing(t, ctx, g, "10.0.0.9")
		mustPing(t, ctx, g, "fd00::9")
	}
	table := f.s.Ctl(t, "neigh", "show")
	for _, ip := range []string{"10.0.0.2", "fd00::2"} {
		f.known(t, ip, f.b.Config.MAC, "b")
		if !strings.Contains(table, ip) {
			t.Errorf("neigh show does not list %s:\n%s", ip, table)
		}
	}

	forget(t, f.a, f.b)
	before := f.s.Port(t, "a").Counters.NeighReplies
	atB, atA := startWatch(t, f.b, requestsFrom(f.a)), startWatch(t, f.a, requestsFrom(f.b))
	answer := capture(t, f.a, "eth0", "arp[6:2] == 2 and arp src host 10.0.0.2", 1)
	mustPing(t, ctx, f.a, "10.0.0.2")
	mustPing(t, ctx, f.a, "fd00::2")
	arp, _ := answer(t)[0].Layer(layers.LayerTypeARP).(*layers.ARP)
	if arp == nil || net.HardwareAddr(arp.SourceHwAddress).String() != f.b.Config.MAC {
		t.Errorf("guest a was told %+v", arp)
	}
	if n := f.s.Port(t, "a").Counters.NeighReplies - before; n < 2 {
		t.Errorf("the switch answered %d requests of guest a", n)
	}
	if a, b := atA.stop(t, 0), atB.stop(t, 0); a != 0 || b != 0 {
		t.Errorf("guest a was sent %d requests, guest b %d", a, b)
	}

	f.c.MustRun(t, "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
	t.Cleanup(func() {
		f.c.MustRun(t, "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad && ip addr del fd00::33/64 dev eth0 && ip addr del fd00::2/64 dev eth0")
	})
	atB = startWatch(t, f.b, "icmp6 and ip6[40] == 135 and src host ::")
	f.c.MustRun(t, "ip addr add fd00::33/64 dev eth0 && ip addr add fd00::2/64 dev eth0")
	swtest.Until(t, "guest c has an address that nobody else has", func() bool {
		return strings.Contains(f.c.MustRun(t, "ip -6 addr show dev eth0 scope global -tentative"), "fd00::33/")
	})
	swtest.Until(t, "guest c does not get an address that guest b has", func() bool {
		return strings.Contains(f.c.MustRun(t, "ip -6 addr show dev eth0 dadfailed"), "fd00::2/")
	})
	if n := atB.stop(t, 1); n != 1 { // for the free address
		t.Errorf("guest b was sent %d probes", n)
	}
	mustPing(t, ctx, f.a, "fd00::33")
}

// followNeighbours: stations are found under a new IP address, with a new MAC address and behind
// another port.
func (f *fourGuests) followNeighbours(t *testing.T) {
	ctx := testContext(t)
	f.configure(t, "", suppressing, "")
	const ip, mac = "10.0.0.22", "52:54:00:00:02:0b"
	own := map[*vm.VM]string{f.b: f.b.Config.MAC, f.c: f.c.Config.MAC}
	t.Cleanup(func() {
		for g, mac := range own {
			g.MustRun(t, "ip addr del "+ip+"/24 dev eth0; true")
			readdress(t, g, mac)
		}
	})

	f.b.MustRun(t, "ip addr add "+ip+"/24 dev eth0")
	forget(t, f.a)
	mustPing(t, ctx, f.a, ip)
	f.known(t, ip, f.b.Config.MAC, "b")
	atB := startWatch(t, f.b, requestsFrom(f.a))
	forget(t, f.a)
	mustPing(t, ctx, f.a, ip)
	if n := atB.stop(t, 0); n != 0 {
		t.Errorf("guest b was sent %d requests for its new address, which the switch knows", n)
	}

	readdress(t, f.b, mac)
	forget(t, f.a)
	mustPing(t, ctx, f.b, "10.0.0.9", "-I", ip)
	mustPing(t, ctx, f.a, ip)
	f.known(t, ip, mac, "b")

	f.b.MustRun(t, "ip addr del "+ip+"/24 dev eth0 && ip link set eth0 down")
	readdress(t, f.c, mac)
	f.c.MustRun(t, fmt.Sprintf("ip addr add %[1]s/24 dev eth0 && arping -U -c 1 -I eth0 -s %[1]s %[1]s || true", ip))
	forget(t, f.a)
	mustPing(t, ctx, f.a, ip)
	f.known(t, ip, mac, "c")
}
