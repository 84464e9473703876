//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// snooping is in the configuration of the steps that use it.
const snooping = "mcast_snooping = true\nmcast_querier = true"

// waitQuerier waits until the switch sends multicast to members only.
func (f *fourGuests) waitQuerier(t *testing.T) {
	t.Helper()
	for _, version := range []int{4, 6} {
		swtest.Until(t, fmt.Sprintf("IPv%d multicast goes to members only", version), func() bool {
			for _, n := range f.s.MDB(t).Networks {
				if n.VLAN == 0 && n.IPVersion == version {
					return n.Own && !n.Flooding
				}
			}
			return false
		})
	}
}

// findEachOtherWithSnooping has guests get addresses from a router behind the uplink, and find each
// other by neighbour discovery, with a querier and without. None of this is to depend on
// memberships. The guests' own router advertisements do not pass.
func (f *fourGuests) findEachOtherWithSnooping(t *testing.T) {
	ctx := testContext(t)
	const guard = "ra_guard = true"
	guards := portKeys{"a": guard, "b": guard, "c": guard, "d": guard}
	router, routerMAC := packetSocket(t, f.there, "far0")
	t.Cleanup(func() { unix.Close(router) })
	for i, g := range f.all() {
		t.Cleanup(func() {
			g.MustRun(t, fmt.Sprintf("cd /proc/sys/net/ipv6/conf/eth0 && echo 0 >accept_ra && echo 0 >accept_dad && ip -6 addr flush dev eth0 scope global && ip addr add fd00::%d/64 dev eth0", i+1))
		})
	}
	for i, switchKeys := range []string{snooping, "mcast_snooping = true"} {
		f.configure(t, switchKeys, guards, "")
		if i == 0 {
			f.waitQuerier(t)
		}
		network := fmt.Sprintf("fd0%d::", i+1)
		for _, g := range f.all() {
			g.MustRun(t, "cd /proc/sys/net/ipv6/conf/eth0 && echo 1 >accept_ra && echo 1 >accept_dad && ip link set eth0 down && ip link set eth0 up")
		}
		f.d.MustRun(t, "inject eth0 "+hex.EncodeToString(routerAdvert(t, mac(t, f.d.Config.MAC), "fd66::")))
		var addrs []string
		for _, g := range f.all() {
			addrs = append(addrs, f.autoconfigured(t, g, router, routerAdvert(t, routerMAC, network), network))
		}
		f.there.Run(t, "ip", "addr", "replace", network+"9/64", "dev", "far0", "nodad")
		forget(t, f.all()...)
		for n, from := range f.all() {
			mustPing(t, ctx, from, addrs[(n+1)%4], "-c", "25")
			if got := from.MustRun(t, "ip -6 addr show dev eth0"); strings.Contains(got, "fd66:") {
				t.Errorf("guest %s has an address of guest d's: %s", from.Config.Name, got)
			}
		}
		mustPing(t, ctx, f.a, network+"9")
		nsPing(t, f.there, addrs[1])
	}
	if n := f.s.Port(t, "d").Counters.Drops["ra-guard"]; n != 2 {
		t.Errorf("%d router advertisements of guest d were dropped, want 2", n)
	}
}

// autoconfigured sends router advertisements until a guest has an address from one, which no other
// station uses.
func (f *fourGuests) autoconfigured(t *testing.T, g *vm.VM, router int, advert []byte, network string) (addr string) {
	t.Helper()
	swtest.Until(t, "guest "+g.Config.Name+" has an address in "+network, func() bool {
		_ = unix.Send(router, advert, 0)
		for line := range strings.Lines(g.MustRun(t, "ip -6 -o addr show dev eth0 scope global -tentative")) {
			for _, field := range strings.Fields(line) {
				if prefix, ok := strings.CutSuffix(field, "/64"); ok && strings.HasPrefix(prefix, strings.TrimSuffix(network, ":")) {
					addr = prefix
				}
			}
		}
		return addr != ""
	})
	return addr
}

// A cast is a stream to a multicast group, as of a video in standard definition.
type cast struct {
	protocol string // by which guests join
	version  string // the guests' setting, and its value
	group    string
	source   string // an address of guest a, which sends; empty: the namespace sends
}

const castPort = "5004"

// streamToMembers sends a stream to a group, by all protocols by which guests join one: members get
// each datagram, from when they join until they leave, and others none. Members for one source get
// what comes from that source. Without snooping, all guests get everything.
func (f *fourGuests) streamToMembers(t *testing.T) {
	for _, c := range []cast{
		{"IGMPv2", "ipv4/conf/eth0/force_igmp_version 2", "239.1.1.1", ""},
		{"IGMPv3", "ipv4/conf/eth0/force_igmp_version 0", "239.1.1.2", "10.0.0.1"},
		{"MLDv1", "ipv6/conf/eth0/force_mld_version 1", "ff15::1:1", ""},
		{"MLDv2", "ipv6/conf/eth0/force_mld_version 0", "ff15::1:2", "fd00::1"},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			f.configure(t, snooping, portKeys{"b": "mcast_fast_leave = true"}, "")
			f.waitQuerier(t)
			for _, g := range f.all() {
				key, value, _ := strings.Cut(c.version, " ")
				g.MustRun(t, "echo "+value+" >/proc/sys/net/"+key)
			}
			f.streamTo(t, c)
		})
	}
	t.Run("from another source", func(t *testing.T) {
		f.configure(t, snooping, nil, "")
		f.waitQuerier(t)
		c := cast{group: "239.1.1.4"}
		watchC := startWatch(t, f.c, "udp and dst host "+c.group)
		member, other := f.join(t, f.b, c, ""), f.join(t, f.c, c, "10.0.0.1")
		stream := f.cast(t, c)
		f.progress(t, "b")
		sent := decode[datagrams](t, stream.stop(t)).Datagrams
		if got := decode[datagrams](t, member.wait(t)); got.Datagrams != sent {
			t.Errorf("guest b, a member for all sources, got %+v of %d", got, sent)
		}
		other.stop(t)
		if n := watchC.stop(t, 0); n != 0 {
			t.Errorf("guest c, a member for guest a's stream, was sent %d datagrams of another source", n)
		}
	})
	t.Run("without snooping", func(t *testing.T) {
		f.configure(t, "", nil, "")
		c := cast{group: "239.1.1.3"}
		var watches []*watch
		for _, g := range f.all() {
			watches = append(watches, startWatch(t, g, "udp and dst host "+c.group))
		}
		stream := f.cast(t, c)
		f.progress(t, "a", "b", "c", "d")
		sent := decode[datagrams](t, stream.stop(t)).Datagrams
		for i, g := range f.all() {
			all := sent + 1 // with the one at its end
			if n := watches[i].stop(t, all); n != all {
				t.Errorf("guest %s was sent %d datagrams instead of %d", g.Config.Name, n, all)
			}
		}
	})
}

// datagrams are what the command flow prints of a stream to a group.
type datagrams struct{ Datagrams, First, Last, Others int }

// streamTo sends one stream. Guests b and c are members from the start; d joins when b is about to
// leave.
func (f *fourGuests) streamTo(t *testing.T, c cast) {
	match := "udp and dst host " + c.group
	bytes := f.s.Port(t, "a").Counters.TxBytes
	watchA, watchD := startWatch(t, f.a, match), startWatch(t, f.d, match)
	b, member := f.join(t, f.b, c, ""), f.join(t, f.c, c, c.source)
	stream := f.cast(t, c)
	f.progress(t, "b", "c")
	if n := watchD.stop(t, 0); n != 0 {
		t.Errorf("guest d was sent %d datagrams before it joined", n)
	}
	late := f.join(t, f.d, c, "")
	f.progress(t, "b", "c", "d")
	before := f.s.Port(t, "b").Counters.McastEvents["left"]
	left := decode[datagrams](t, b.stop(t))
	swtest.Until(t, "guest b has left", func() bool {
		return !f.isMember(t, "b", c.group) && f.s.Port(t, "b").Counters.McastEvents["left"] > before
	})
	watchB := startWatch(t, f.b, match)
	f.progress(t, "c", "d")
	sent := decode[datagrams](t, stream.stop(t)).Datagrams
	own := 0
	if c.source != "" {
		own = sent + 1 // guest a's own datagrams, with the one at their end
	}

	if got := decode[datagrams](t, member.wait(t)); got != (datagrams{Datagrams: sent, Last: sent - 1}) {
		t.Errorf("guest c, a member all the time, got %+v of %d", got, sent)
	}
	if got := decode[datagrams](t, late.wait(t)); got.First == 0 || got != (datagrams{sent - got.First, got.First, sent - 1, 0}) {
		t.Errorf("guest d, which joined later, got %+v of %d", got, sent)
	}
	if left.Last >= sent-1 || left != (datagrams{Datagrams: left.Last + 1, Last: left.Last}) {
		t.Errorf("guest b, which left, got %+v of %d", left, sent)
	}
	if n := watchB.stop(t, 0); n != 0 {
		t.Errorf("guest b was sent %d datagrams after it had left", n)
	}
	if n := watchA.stop(t, own) - own; n != 0 {
		t.Errorf("guest a, which has not joined, was sent %d datagrams", n)
	}
	if n := f.s.Port(t, "a").Counters.TxBytes - bytes; n > uint64(sent)*100 {
		t.Errorf("port a was sent %d bytes during a stream of %d datagrams", n, sent)
	}
}

// cast starts a stream, which lasts until it is stopped.
func (f *fourGuests) cast(t *testing.T, c cast) *job {
	t.Helper()
	if c.source != "" {
		return startJob(t, f.a, "flow cast "+c.group+" "+castPort, "sending")
	}
	return startNetnsJob(t, f.there, "sending", flowCommand(t), "cast", "-interface", "far0", c.group, castPort)
}

// join has a guest join a group, for all sources or for one, and returns when the switch knows.
func (f *fourGuests) join(t *testing.T, g *vm.VM, c cast, source string) *job {
	t.Helper()
	if source != "" {
		source = "-source " + source + " "
	}
	j := startJob(t, g, "flow join "+source+c.group+" "+castPort, "joined")
	swtest.Until(t, j.what+" is known to the switch", func() bool { return f.isMember(t, g.Config.Name, c.group) })
	return j
}

func (f *fourGuests) isMember(t *testing.T, port, group string) bool {
	t.Helper()
	for _, e := range f.s.MDB(t).Entries {
		if e.Port == port && e.Group == group {
			return true
		}
	}
	return false
}

// progress waits until ports have been sent a part of a stream from now on.
func (f *fourGuests) progress(t *testing.T, ports ...string) {
	t.Helper()
	const part = 150
	before := make(map[string]uint64)
	for _, p := range ports {
		before[p] = f.s.Port(t, p).Counters.TxFrames
	}
	for _, p := range ports {
		swtest.Until(t, "a part of the stream goes to port "+p, func() bool { return f.s.Port(t, p).Counters.TxFrames >= before[p]+part })
	}
}
