package uplink

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

// Comparison with a Linux bridge that distinguishes sources and is the querier: what a station gets
// after the reports that the kernel's tests bridge_igmp.sh and bridge_mld.sh
// (tools/testing/selftests/net/forwarding) play.

// A sourceCase is reports of a station about a group of its own, and the sources that the station
// gets in the end, when what the querier has asked about without an answer has ended.
type sourceCase struct {
	name    string
	reports []string
	want    string // 9 stands for any other source
	bridge  string // what a bridge does, if that is something else
}

var sourceCases = []sourceCase{
	{name: "v2reportleave: report", reports: []string{"report"}, want: "1234569"},
	{name: "v2reportleave: leave", reports: []string{"report", "leave"}, want: ""},
	{name: "v3include", reports: []string{"allow 123"}, want: "123"},
	{name: "v3inc_allow", reports: []string{"allow 123", "allow 45"}, want: "12345"},
	{name: "v3inc_is_include", reports: []string{"allow 123", "is_in 45"}, want: "12345"},
	{name: "v3inc_is_exclude", reports: []string{"allow 123", "is_ex 234"}, want: "123569"},
	{name: "v3inc_to_exclude", reports: []string{"allow 123", "to_ex 234"}, want: "1569"},
	{name: "v3inc_block", reports: []string{"allow 123", "block 1"}, want: "23"},
	{name: "v3inc_to_include", reports: []string{"allow 123", "to_in 3"}, want: "3"},
	{name: "v3exc", reports: []string{"is_ex 12"}, want: "34569"},
	{name: "v3exc_allow", reports: []string{"is_ex 12", "allow 23"}, want: "234569"},
	{name: "v3exc_is_include", reports: []string{"is_ex 12", "is_in 13"}, want: "134569"},
	{name: "v3exc_is_exclude", reports: []string{"is_ex 12", "is_ex 23"}, want: "134569"},
	{name: "v3exc_to_exclude", reports: []string{"is_ex 12", "to_ex 23"}, want: "14569"},
	{name: "v3exc_block", reports: []string{"is_ex 12", "block 34"}, want: "569"},
	{name: "v3exc_timeout", reports: []string{"is_ex 12", "to_in 3"}, want: "3"},
	{name: "all sources, then none", reports: []string{"to_ex", "to_in"}, want: ""},
	{name: "a station that knows no sources", reports: []string{"report", "block 1"}, want: "1234569", bridge: "234569"},
}

var recordKinds = map[string]byte{"is_in": 1, "is_ex": 2, "to_in": 3, "to_ex": 4, "allow": 5, "block": 6}

func caseGroup(v6 bool, n int) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("ff05::a:%x", n+1))
	}
	return netip.AddrFrom4([4]byte{239, 10, 0, byte(n + 1)})
}

func caseSource(v6 bool, digit rune) netip.Addr {
	if v6 {
		return netip.MustParseAddr("2001:db8::" + string(digit))
	}
	return netip.AddrFrom4([4]byte{10, 8, 0, byte(digit - '0')})
}

// reportFrame makes the frame of a report of station number n about a group.
func reportFrame(t *testing.T, n int, group netip.Addr, report string) []byte {
	t.Helper()
	v6 := group.Is6()
	kind, digits, _ := strings.Cut(report, " ")
	var to netip.Addr
	var msg []byte
	switch {
	case kind == "report" && v6:
		to, msg = group, slices.Concat([]byte{131, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice())
	case kind == "leave" && v6:
		to, msg = netip.MustParseAddr("ff02::2"), slices.Concat([]byte{132, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice())
	case kind == "report":
		to, msg = group, slices.Concat([]byte{0x16, 0, 0, 0}, group.AsSlice())
	case kind == "leave":
		to, msg = netip.MustParseAddr("224.0.0.2"), slices.Concat([]byte{0x17, 0, 0, 0}, group.AsSlice())
	default:
		to, msg = netip.MustParseAddr("224.0.0.22"), []byte{0x22, 0, 0, 0, 0, 0, 0, 1}
		if v6 {
			to, msg[0] = netip.MustParseAddr("ff02::16"), 143
		}
		msg = append(msg, recordKinds[kind], 0, 0, byte(len(digits)))
		msg = append(msg, group.AsSlice()...)
		for _, d := range digits {
			msg = append(msg, caseSource(v6, d).AsSlice()...)
		}
	}
	if v6 {
		from := netip.MustParseAddr(fmt.Sprintf("fe80::%x", n+1))
		pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, 0, 0, byte(len(msg)), 0, 0, 0, 58}, msg)
		binary.BigEndian.PutUint16(msg[2:], onesSum(pseudo))
		ip := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolIPv6HopByHop, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		return groupFrame(t, n, to, nil, []gopacket.SerializableLayer{ip, gopacket.Payload(slices.Concat([]byte{58, 0, 5, 2, 0, 0, 1, 0}, msg))})
	}
	binary.BigEndian.PutUint16(msg[2:], onesSum(msg))
	ip := &layers.IPv4{
		Version: 4, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: net.IPv4(10, 9, 0, byte(n+1)), DstIP: to.AsSlice(),
		Options: []layers.IPv4Option{{OptionType: 0x94, OptionLength: 4, OptionData: []byte{0, 0}}},
	}
	return groupFrame(t, n, to, []gopacket.SerializableLayer{ip, gopacket.Payload(msg)}, nil)
}

// datagramFrom makes a frame with a datagram from a source to a group, sent by station number n.
func datagramFrom(t *testing.T, n int, source, group netip.Addr, payload []byte) []byte {
	ip4 := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: group.AsSlice()}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: group.AsSlice()}
	udp4, udp6 := &layers.UDP{SrcPort: 9, DstPort: 9}, &layers.UDP{SrcPort: 9, DstPort: 9}
	_, _ = udp4.SetNetworkLayerForChecksum(ip4), udp6.SetNetworkLayerForChecksum(ip6)
	return groupFrame(t, n, group, []gopacket.SerializableLayer{ip4, udp4, gopacket.Payload(payload)},
		[]gopacket.SerializableLayer{ip6, udp6, gopacket.Payload(payload)})
}

// sources returns the sources whose frames to a group reach station 0.
func (l *snoopingLab) sources(group netip.Addr) (got string) {
	l.t.Helper()
	for _, d := range "1234569" {
		if l.reachWith(func(n int, payload []byte) []byte {
			return datagramFrom(l.t, n, caseSource(group.Is6(), d), group, payload)
		}) == "0" {
			got += string(d)
		}
	}
	return got
}

// playSources has station 0 send the reports of all cases, and waits until it gets what it should.
func (l *snoopingLab) playSources(bridge bool) {
	for _, v6 := range []bool{false, true} {
		waitFor(l.t, fmt.Sprintf("the querier's memberships to count (IPv6: %v)", v6), func() bool {
			return l.sources(caseGroup(v6, 99)) == ""
		})
	}
	for _, v6 := range []bool{false, true} {
		for nth := range 2 {
			for i, c := range sourceCases {
				if nth < len(c.reports) {
					l.all[0].send(reportFrame(l.t, 0, caseGroup(v6, i), c.reports[nth]))
				}
			}
			l.sources(caseGroup(v6, 99)) // what was sent before has been taken
		}
	}
	for _, v6 := range []bool{false, true} {
		for i, c := range sourceCases {
			want, last := c.want, ""
			if bridge && c.bridge != "" {
				want = c.bridge
			}
			if !eventually(func() bool {
				last = l.sources(caseGroup(v6, i))
				return last == want
			}) {
				l.t.Errorf("%s, IPv6 %v: the station gets %q, want %q", c.name, v6, last, want)
			}
		}
	}
}

func TestDistinguishesSourcesLikeABridge(t *testing.T) {
	t.Run("bridge", func(t *testing.T) {
		all, names := newListeners(t, 2)
		defer joinByBridge(t, names...)()
		// MLD queries have the bridge's link-local address. The kernel adds it some time after it
		// was allowed, and lets it be used some time later. A query that was due before comes at
		// the next startup interval.
		for _, key := range []string{"accept_dad", "disable_ipv6"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/br0/"+key, []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "the bridge's link-local address", func() bool {
			addresses, err := os.ReadFile("/proc/thread-self/net/if_inet6")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(addresses)) {
				f := strings.Fields(line)          // address, index, prefix length, scope, flags, name
				if f[5] == "br0" && f[4] == "80" { // permanent, and not tentative
					return true
				}
			}
			return false
		})
		if out, err := exec.Command("ip", strings.Fields("link set br0 type bridge mcast_igmp_version 3 mcast_mld_version 2 mcast_query_response_interval 100 mcast_startup_query_interval 100 mcast_startup_query_count 10 mcast_querier 1")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		(&snoopingLab{t: t, all: all}).playSources(true)
	})
	t.Run("switch", func(t *testing.T) {
		all, names := newListeners(t, 2)
		sw := vswitch.New(vswitch.Config{Mcast: vswitch.McastConfig{Snooping: true, Querier: vswitch.QuerierConfig{On: true}}})
		_, _, part := joinTo(t, sw, names...)
		defer part()
		(&snoopingLab{t: t, all: all}).playSources(false)
	})
}
