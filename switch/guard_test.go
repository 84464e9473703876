package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Attacks on a port whose station is macA with 10.0.0.1 and fd00::1, and what such a station needs.
// macB with 10.0.0.2 and fd00::2 is its neighbour.

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// allGuards are all guards that look into packets.
func allGuards() vswitch.Guards {
	return vswitch.Guards{
		AllowedMACs: []vswitch.MAC{macA}, AllowedIPs: prefixes("10.0.0.1/32", "fd00::1/128"),
		DHCP: true, RA: true, BPDU: true,
	}
}

// serialize returns the bytes of layers, with lengths and without checksums.
func serialize(ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		panic(err)
	}
	return bytes.Clone(buf.Bytes())
}

// inEther puts a packet of an EtherType into a frame from macA.
func inEther(etype uint16, packet []byte, tags ...vswitchtest.Tag) []byte {
	b := vswitchtest.Ether(broadcast, macA, nil, tags...)
	binary.BigEndian.PutUint16(b[len(b)-2:], etype)
	return append(b, packet...)
}

// inSNAP puts a packet behind LLC and SNAP headers.
func inSNAP(etype uint16, packet []byte) []byte {
	snap := binary.BigEndian.AppendUint16([]byte{0xaa, 0xaa, 3, 0, 0, 0}, etype)
	return inEther(uint16(len(snap)+len(packet)), slices.Concat(snap, packet))
}

func arp(op uint16, mac vswitch.MAC, sender string) []byte {
	return serialize(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: mac[:], SourceProtAddress: net.ParseIP(sender).To4(),
		DstHwAddress: make([]byte, 6), DstProtAddress: net.IPv4(10, 0, 0, 3).To4(),
	})
}

func ip4(src, dst string, proto layers.IPProtocol, flags layers.IPv4Flag, offset uint16, payload []byte) []byte {
	return serialize(&layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst), Flags: flags, FragOffset: offset,
	}, gopacket.Payload(payload))
}

func udp(src, dst int) []byte {
	return serialize(&layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}, gopacket.Payload("datagram"))
}

// ip6 is an IPv6 packet whose payload begins with a header of type next.
func ip6(src string, next layers.IPProtocol, payload []byte) []byte {
	return serialize(&layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: next, SrcIP: net.ParseIP(src), DstIP: net.ParseIP("ff02::1"),
	}, gopacket.Payload(payload))
}

// icmp6 is an ICMPv6 message with n bytes of fields, then the rest.
func icmp6(typ uint8, rest ...[]byte) []byte {
	return slices.Concat(append([][]byte{{typ, 0, 0, 0, 0, 0, 0, 0}}, rest...)...)
}

func target(s string) []byte { return net.ParseIP(s).To16() }

func lla(typ byte, mac vswitch.MAC) []byte { return append([]byte{typ, 1}, mac[:]...) }

// ext is an extension header of n times 8 bytes in front of a rest that begins with type next.
func ext(next layers.IPProtocol, n int, rest []byte) []byte {
	h := make([]byte, 8*n)
	h[0], h[1] = byte(next), byte(n-1)
	h[2], h[3] = 1, byte(8*n-4) // PadN
	return append(h, rest...)
}

// frag is a fragment header in front of a piece.
func frag(next layers.IPProtocol, offset uint16, more bool, piece []byte) []byte {
	h := []byte{byte(next), 0, 0, 0, 1, 2, 3, 4}
	binary.BigEndian.PutUint16(h[2:], offset<<3)
	if more {
		h[3] |= 1
	}
	return append(h, piece...)
}

const (
	v4, v6, etherARP = 0x0800, 0x86dd, 0x0806

	extHop, extFrag, extDst = layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Fragment, layers.IPProtocolIPv6Destination
	icmp                    = layers.IPProtocolICMPv6
)

// A guardTest is a frame, and the reason for which it is dropped; "": it passes.
type guardTest struct {
	name  string
	frame []byte
	want  string
}

func guardTests() []guardTest {
	ra := icmp6(134, make([]byte, 8), lla(1, macA))
	na := func(t string, mac vswitch.MAC) []byte { return icmp6(136, target(t), lla(2, mac)) }
	ns := func(t string, rest ...[]byte) []byte { return icmp6(135, append([][]byte{target(t)}, rest...)...) }
	mld := icmp6(143, make([]byte, 20))
	discover := udp(68, 67)
	long := make([]byte, 100)
	spoofed4 := ip4("10.0.0.2", "10.0.0.3", 6, 0, 0, long)
	later := func(proto layers.IPProtocol) []byte { return frag(proto, 100, false, long) }
	return []guardTest{
		// What a station needs.
		{"IPv4FromOwnAddress", inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, udp(1000, 53))), ""},
		{"IPv4FromOwnAddressInATag", inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, udp(1000, 53)), tag(0, 7)), ""},
		{"IPv4LaterFragment", inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 185, long)), ""},
		{"IPv6FromOwnAddress", inEther(v6, ip6("fd00::1", 6, long)), ""},
		{"IPv6LaterFragment", inEther(v6, ip6("fd00::1", extFrag, later(17))), ""},
		{"IPv6FromLinkLocal", inEther(v6, ip6("fe80::1234", 6, long)), ""},
		{"ESP", inEther(v6, ip6("fd00::1", layers.IPProtocolESP, long)), ""},
		{"ARPRequest", inEther(etherARP, arp(1, macA, "10.0.0.1")), ""},
		{"ARPProbe", inEther(etherARP, arp(1, macA, "0.0.0.0")), ""},
		{"RARPAnnouncementAfterMigration", inEther(0x8035, arp(3, macA, "0.0.0.0")), ""},
		{"DHCPDiscover", inEther(v4, ip4("0.0.0.0", "255.255.255.255", 17, 0, 0, discover)), ""},
		{"DHCPRenewal", inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, discover)), ""},
		{"DHCPv6Solicit", inEther(v6, ip6("fe80::1", 17, udp(546, 547))), ""},
		{"DuplicateAddressDetection", inEther(v6, ip6("::", icmp, ns("fd00::1"))), ""},
		{"DuplicateLinkLocalAddressDetection", inEther(v6, ip6("::", icmp, ns("fe80::1"))), ""},
		{"MLDReport", inEther(v6, ip6("::", extHop, ext(icmp, 1, mld))), ""},
		{"RouterSolicitation", inEther(v6, ip6("fe80::1", icmp, icmp6(133, lla(1, macA)))), ""},
		{"NeighbourSolicitation", inEther(v6, ip6("fd00::1", icmp, ns("fd00::2", lla(1, macA)))), ""},
		{"NeighbourAdvertisement", inEther(v6, ip6("fd00::1", icmp, na("fd00::1", macA))), ""},
		{"PaddingBehindNDMessage", append(inEther(v6, ip6("fd00::1", icmp, na("fd00::1", macA))), 0, 0, 0, 0), ""},
		{"EchoRequest", inEther(v6, ip6("fd00::1", icmp, icmp6(128, long))), ""},
		{"EchoRequestInFragments", inEther(v6, ip6("fd00::1", extFrag, frag(icmp, 0, true, icmp6(128, long)))), ""},
		{"LLDPWithoutSNAP", inEther(3, []byte{0x42, 0x42, 3}), ""},

		// Spoofed addresses.
		{"SpoofedIPv4Source", inEther(v4, spoofed4), "ip-spoofed"},
		{"SpoofedSourceInsideTag", inEther(v4, spoofed4, tag(0, 7)), "ip-spoofed"},
		{"SpoofedSourceInsideTwoTags", inEther(v4, spoofed4, tag(0x88a8, 7), tag(0, 8)), "ip-spoofed"},
		{"SpoofedSourceInsideOldTag", inEther(0x9100, slices.Concat([]byte{0, 1, 8, 0}, spoofed4)), "ip-spoofed"},
		{"SpoofedSourceBehindSNAP", inSNAP(v4, spoofed4), "ip-spoofed"},
		{"SpoofedSourceBehindSNAPAndTag", inSNAP(0x8100, slices.Concat([]byte{0, 0, 8, 0}, spoofed4)), "ip-spoofed"},
		{"SpoofedSourceInLaterFragment", inEther(v4, ip4("10.0.0.2", "10.0.0.3", 17, 0, 185, long)), "ip-spoofed"},
		{"SourceBehindSoManyTags", inEther(v4, spoofed4, slices.Repeat([]vswitchtest.Tag{tag(0, 0)}, 40)...), "guard-unreadable"},
		{"TruncatedIPv4", inEther(v4, spoofed4[:19]), "guard-unreadable"},
		{"IPv6InIPv4sType", inEther(v4, ip6("fd00::2", 6, long)), "guard-unreadable"},
		{"TruncatedIPv6", inEther(v6, ip6("fd00::1", 6, long)[:39]), "guard-unreadable"},
		{"SpoofedIPv6Source", inEther(v6, ip6("fd00::2", 6, long)), "ip-spoofed"},
		{"SpoofedIPv6SourceInLaterFragment", inEther(v6, ip6("fd00::2", extFrag, later(17))), "ip-spoofed"},
		{"UnspecifiedIPv4Source", inEther(v4, ip4("0.0.0.0", "10.0.0.2", 17, 0, 0, discover)), "ip-spoofed"},
		{"UnspecifiedIPv4SourceToAnotherPort", inEther(v4, ip4("0.0.0.0", "255.255.255.255", 17, 0, 0, udp(68, 69))), "ip-spoofed"},
		{"UnspecifiedIPv4SourceInFragments", inEther(v4, ip4("0.0.0.0", "255.255.255.255", 17, layers.IPv4MoreFragments, 0, discover)), "ip-spoofed"},
		{"UnspecifiedIPv6Source", inEther(v6, ip6("::", 17, udp(546, 547))), "ip-spoofed"},
		{"UnspecifiedIPv6SourceEcho", inEther(v6, ip6("::", icmp, icmp6(128, long))), "ip-spoofed"},
		{"ARPSpoofedProtocolAddress", inEther(etherARP, arp(2, macA, "10.0.0.2")), "ip-spoofed"},
		{"ARPSpoofedHardwareAddress", inEther(etherARP, arp(2, macB, "10.0.0.1")), "mac-spoofed"},
		{"ARPReplyFromNobody", inEther(etherARP, arp(2, macA, "0.0.0.0")), "ip-spoofed"},
		{"ARPSpoofedBehindSNAP", inSNAP(etherARP, arp(2, macA, "10.0.0.2")), "ip-spoofed"},
		{"ARPTruncated", inEther(etherARP, arp(2, macA, "10.0.0.1")[:27]), "guard-unreadable"},
		{"ARPOfAnotherKind", inEther(etherARP, append([]byte{0, 6}, arp(2, macA, "10.0.0.1")[2:]...)), "guard-unreadable"},
		{"NAForNeighboursAddress", inEther(v6, ip6("fd00::1", icmp, na("fd00::2", macA))), "ip-spoofed"},
		{"NAFromLinkLocalForNeighboursAddress", inEther(v6, ip6("fe80::1", icmp, na("fd00::2", macA))), "ip-spoofed"},
		{"NAWithNeighboursLinkLayerAddress", inEther(v6, ip6("fd00::1", icmp, na("fd00::1", macB))), "mac-spoofed"},
		{"NSWithNeighboursLinkLayerAddress", inEther(v6, ip6("fd00::1", icmp, ns("fd00::2", lla(1, macB)))), "mac-spoofed"},
		{"RSWithNeighboursLinkLayerAddress", inEther(v6, ip6("fe80::1", icmp, icmp6(133, lla(1, macB)))), "mac-spoofed"},
		{"SecondLinkLayerAddressOption", inEther(v6, ip6("fd00::1", icmp, ns("fd00::2", lla(1, macA), lla(1, macB)))), "mac-spoofed"},
		{"LinkLayerAddressBehindHead", inEther(v6, ip6("fd00::1", icmp, ns("fd00::2", append([]byte{14, 8}, make([]byte, 62)...), lla(1, macB)))), "guard-unreadable"},
		{"OptionOfLengthZero", inEther(v6, ip6("fd00::1", icmp, ns("fd00::2", make([]byte, 8), lla(1, macB)))), "guard-unreadable"},
		{"DADForNeighboursAddress", inEther(v6, ip6("::", icmp, ns("fd00::2"))), "ip-spoofed"},
		{"NAHiddenBehindDestinationOptions", inEther(v6, ip6("fd00::1", extDst, ext(icmp, 1, na("fd00::2", macA)))), "ip-spoofed"},
		{"NAInFragments", inEther(v6, ip6("fd00::1", extFrag, frag(icmp, 0, true, na("fd00::1", macA)))), "ip-spoofed"},
		{"NABehindHead", inEther(v6, ip6("fd00::1", extDst, ext(icmp, 10, na("fd00::2", macA)))), "guard-unreadable"},

		// DHCP servers.
		{"DHCPOffer", inEther(v4, ip4("10.0.0.1", "255.255.255.255", 17, 0, 0, udp(67, 68))), "dhcp-guard"},
		{"DHCPOfferFromAnotherPort", inEther(v4, ip4("10.0.0.1", "255.255.255.255", 17, 0, 0, udp(1067, 68))), "dhcp-guard"},
		{"DHCPOfferInsideTag", inEther(v4, ip4("10.0.0.1", "255.255.255.255", 17, 0, 0, udp(67, 68)), tag(0, 7)), "dhcp-guard"},
		{"DHCPOfferInFragments", inEther(v4, ip4("10.0.0.1", "255.255.255.255", 17, layers.IPv4MoreFragments, 0, udp(67, 68))), "dhcp-guard"},
		{"DHCPOfferWithoutPorts", inEther(v4, ip4("10.0.0.1", "255.255.255.255", 17, layers.IPv4MoreFragments, 0, []byte{0, 67})), "guard-unreadable"},
		{"DHCPRelay", inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, udp(67, 67))), "dhcp-guard"},
		{"DHCPv6Advertise", inEther(v6, ip6("fe80::1", 17, udp(547, 546))), "dhcp-guard"},
		{"DHCPv6AdvertiseBehindDestinationOptions", inEther(v6, ip6("fe80::1", extDst, ext(17, 2, udp(547, 546)))), "dhcp-guard"},
		{"DHCPv6AdvertiseInFragments", inEther(v6, ip6("fe80::1", extFrag, frag(17, 0, true, udp(547, 546)))), "dhcp-guard"},

		// Routers.
		{"RA", inEther(v6, ip6("fe80::1", icmp, ra)), "ra-guard"},
		{"RAInsideTag", inEther(v6, ip6("fe80::1", icmp, ra), tag(0, 0)), "ra-guard"},
		{"RABehindSNAP", inSNAP(v6, ip6("fe80::1", icmp, ra)), "ra-guard"},
		{"Redirect", inEther(v6, ip6("fe80::1", icmp, icmp6(137, target("fd00::9"), target("fd00::8")))), "ra-guard"},
		{"RAHiddenBehindDestinationOptions", inEther(v6, ip6("fe80::1", extDst, ext(icmp, 1, ra))), "ra-guard"},
		{"RAHiddenBehindManyHeaders", inEther(v6, ip6("fe80::1", extHop, ext(extDst, 1, ext(extDst, 1, ext(icmp, 2, ra))))), "ra-guard"},
		{"RAInFirstFragment", inEther(v6, ip6("fe80::1", extFrag, frag(icmp, 0, true, ra))), "ra-guard"},
		{"RAInAtomicFragment", inEther(v6, ip6("fe80::1", extFrag, frag(icmp, 0, false, ra))), "ra-guard"},
		{"UnassignedExtensionHeader", inEther(v6, ip6("fe80::1", 200, ext(icmp, 1, ra))), "ra-guard"},
	}
}

// guardLab has a port with guards, and one whose frames nobody restricts.
func guardLab(t *testing.T, g vswitch.Guards) *lab {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Guards = g })
	l.add("b")
	return l
}

// passes sends a frame from port a, and returns the reason of its drop or "".
func (l *lab) passes(frame vswitch.Frame) string {
	p := l.ports["a"]
	p.in.Deliver([]vswitch.Frame{frame})
	arrived := len(l.ports["b"].Take())
	if dropped := p.in.Dropped(); len(dropped) > 0 {
		if arrived != 0 {
			l.t.Errorf("dropped for %s, and sent", dropped[0].Reason)
		}
		return dropped[0].Reason
	}
	if arrived != 1 {
		l.t.Errorf("%d copies were sent", arrived)
	}
	return ""
}

func TestGuards(t *testing.T) {
	guarded, open := guardLab(t, allGuards()), guardLab(t, vswitch.Guards{})
	for _, tt := range guardTests() {
		t.Run(tt.name, func(t *testing.T) {
			guarded.t, open.t = t, t
			if got := guarded.passes(vswitchtest.Frame(tt.frame)); got != tt.want {
				t.Errorf("dropped for %q, want %q: %x", got, tt.want, tt.frame)
			}
			if got := open.passes(vswitchtest.Frame(tt.frame)); got != "" {
				t.Errorf("dropped for %q without guards", got)
			}
		})
	}
}

// A router that may advertise itself may not claim another's link-layer address, or be another
// router. The addresses in a redirect are those of a third station.
func TestGuardsOfRouters(t *testing.T) {
	g := allGuards()
	g.RA = false
	l := guardLab(t, g)
	advert := func(options ...[]byte) []byte { return icmp6(134, append([][]byte{make([]byte, 8)}, options...)...) }
	for _, tt := range []guardTest{
		{"RA", inEther(v6, ip6("fe80::1", icmp, advert(lla(1, macA)))), ""},
		{"RAWithoutAddress", inEther(v6, ip6("fe80::1", icmp, advert())), ""},
		{"RAWithNeighboursLinkLayerAddress", inEther(v6, ip6("fe80::1", icmp, advert(lla(1, macB)))), "mac-spoofed"},
		{"RAWithNeighboursLinkLayerAddressInATag", inEther(v6, ip6("fe80::1", icmp, advert(lla(1, macB))), vswitchtest.Tag{TCI: 7}), "mac-spoofed"},
		{"RAFromNeighboursAddress", inEther(v6, ip6("fd00::2", icmp, advert(lla(1, macA)))), "ip-spoofed"},
		{"RAInFragments", inEther(v6, ip6("fe80::1", extFrag, frag(icmp, 0, true, advert(lla(1, macA))))), "ip-spoofed"},
		{"RACutShort", inEther(v6, ip6("fe80::1", icmp, icmp6(134, make([]byte, 7)))), "guard-unreadable"},
		{"Redirect", inEther(v6, ip6("fe80::1", icmp, icmp6(137, target("fd00::9"), target("fd00::8"), lla(2, macB)))), ""},
		{"RedirectFromNeighboursAddress", inEther(v6, ip6("fd00::2", icmp, icmp6(137, target("fd00::9"), target("fd00::8")))), "ip-spoofed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			if got := l.passes(vswitchtest.Frame(tt.frame)); got != tt.want {
				t.Errorf("dropped for %q, want %q: %x", got, tt.want, tt.frame)
			}
		})
	}
}

// With ra_guard alone, a packet of which it cannot be told whether it is a router advertisement is
// dropped as one.
func TestRAGuardAlone(t *testing.T) {
	l := guardLab(t, vswitch.Guards{RA: true})
	ra := icmp6(134, make([]byte, 8))
	for _, tt := range []guardTest{
		{"OtherAddresses", inEther(v6, ip6("fd00::2", 6, make([]byte, 100))), ""},
		{"MalformedARP", inEther(etherARP, nil), ""},
		{"MalformedIPv4", inEther(v4, nil), ""},
		{"NAOfNeighbour", inEther(v6, ip6("fd00::2", icmp, icmp6(136, target("fd00::2"), lla(2, macB)))), ""},
		{"RABehindHead", inEther(v6, ip6("fe80::1", extDst, ext(icmp, 10, ra))), "guard-unreadable"},
		{"RATypeInSecondFragment", inEther(v6, ip6("fe80::1", extFrag, frag(extDst, 0, true, ext(icmp, 2, nil)))), "guard-unreadable"},
		{"OptionsContinueInSecondFragment", inEther(v6, ip6("fe80::1", extFrag, frag(extDst, 0, true, ext(icmp, 9, nil)[:24]))), "guard-unreadable"},
		{"ChainEndsWithinPacket", inEther(v6, append(ip6("fe80::1", extDst, nil), ext(icmp, 1, ra)...)), "ra-guard"},
		{"TruncatedIPv6", inEther(v6, ip6("fd00::1", 6, nil)[:39]), "guard-unreadable"},
		{"HalfATag", inEther(0x8100, []byte{0}, tag(0, 0)), "guard-unreadable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			if got := l.passes(vswitchtest.Frame(tt.frame)); got != tt.want {
				t.Errorf("dropped for %q, want %q: %x", got, tt.want, tt.frame)
			}
		})
	}
}

// With eui64, a link-local address has to be made of the station's MAC address.
func TestSpoofedLinkLocalAddress(t *testing.T) {
	g := allGuards()
	g.EUI64LinkLocal = true
	l := guardLab(t, g)
	own := macA
	own[0] ^= 2
	made := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: own[0], 9: own[1], 10: own[2], 11: 0xff, 12: 0xfe, 13: own[3], 14: own[4], 15: own[5]})
	for src, want := range map[string]string{made.String(): "", "fe80::1234": "ip-spoofed", made.Next().String(): "ip-spoofed", "fe80:1" + made.String()[4:]: "ip-spoofed"} {
		if got := l.passes(vswitchtest.Frame(inEther(v6, ip6(src, 6, nil)))); got != want {
			t.Errorf("%s: dropped for %q, want %q", src, got, want)
		}
	}
}

// A checksum that is filled in later must not change what a guard has read.
func TestChecksumRequestedWithinHeaders(t *testing.T) {
	g := allGuards()
	l := guardLab(t, g)
	echo := inEther(v6, ip6("fd00::1", 51, slices.Concat([]byte{byte(icmp), 1, 0, 0}, make([]byte, 8), icmp6(136, target("fd00::1"), lla(2, macA)))))
	query := inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, udp(1000, 1000)))
	answer := inSNAP(etherARP, arp(2, macA, "10.0.0.1"))
	for _, tt := range []struct {
		name  string
		frame []byte
		at    int
		want  string
	}{
		{"InAuthenticationHeader", echo, 14 + 40, "guard-unreadable"},
		{"InTargetOfAdvertisement", echo, 14 + 40 + 12 + 8, "guard-unreadable"},
		{"InLinkLayerAddress", echo, 14 + 40 + 12 + 26, "guard-unreadable"},
		{"InItsOwnField", echo, 14 + 40 + 12 + 2, ""},
		{"InPorts", query, 14 + 20 + 1, "guard-unreadable"},
		{"InARPBehindSNAP", answer, 14 + 8 + 14, "guard-unreadable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			f := vswitchtest.Frame(tt.frame)
			f.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(tt.at)}
			if got := l.passes(f); got != tt.want {
				t.Errorf("dropped for %q, want %q", got, tt.want)
			}
		})
	}
}

// Frames that are dropped and frames that pass are told apart within one run of a batch; others
// keep their order, and dropped ones teach the FDB nothing.
func TestGuardWithinARun(t *testing.T) {
	g := allGuards()
	g.AllowedMACs = nil
	l := guardLab(t, g)
	packet := func(src string, n byte) vswitch.Frame {
		return vswitchtest.Frame(inEther(v4, ip4(src, "10.0.0.9", 6, 0, 0, []byte{n})))
	}
	l.ports["a"].in.Deliver([]vswitch.Frame{packet("10.0.0.2", 1), packet("10.0.0.2", 2)})
	l.wantWhere(macA, 0, "")
	l.ports["a"].in.Deliver([]vswitch.Frame{
		packet("10.0.0.2", 1), packet("10.0.0.1", 2), packet("10.0.0.2", 3), packet("10.0.0.1", 4), packet("10.0.0.1", 5),
	})
	l.wantWhere(macA, 0, "a")
	var got []byte
	for _, s := range l.ports["b"].Take() {
		got = append(got, s.Bytes[len(s.Bytes)-1])
	}
	if !bytes.Equal(got, []byte{2, 4, 5}) {
		t.Errorf("frames %v arrived", got)
	}
	l.drops("a", drops{"ip-spoofed": 4})

	// An entry is not kept alive by frames that are dropped, and their destination is not called.
	l.advance(10 * time.Second)
	calls := l.ports["b"].Batches()
	l.ports["a"].in.Deliver([]vswitch.Frame{packet("10.0.0.2", 1)})
	if e := l.s.FDB("a", vswitch.AnyVLAN); len(e) != 1 || e[0].Age != 10*time.Second || l.ports["b"].Batches() != calls {
		t.Errorf("%d calls of Transmit for a frame that was dropped, FDB %+v", l.ports["b"].Batches()-calls, e)
	}
}

// TestGuardsDoNotAllocate sends batches of all frames of TestGuards.
func TestGuardsDoNotAllocate(t *testing.T) {
	s := vswitch.NewStill(vswitch.Config{})
	cfg := vswitch.DefaultPortConfig("a")
	cfg.Guards = allGuards()
	in := attachSinks(t, s, cfg)
	var pristine []vswitch.Frame
	for _, tt := range guardTests() {
		pristine = append(pristine, vswitchtest.Frame(tt.frame))
	}
	frames := make([]vswitch.Frame, len(pristine))
	if n := testing.AllocsPerRun(100, func() {
		copy(frames, pristine)
		in.Deliver(frames)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// attachSinks attaches a port with a configuration and another one, both of which discard frames,
// and returns an inlet of the first.
func attachSinks(tb testing.TB, s *vswitch.Switch, cfg vswitch.PortConfig) *vswitch.Inlet {
	cfg.Counters = new(vswitch.Counters)
	other := vswitch.DefaultPortConfig("other")
	other.Counters = new(vswitch.Counters)
	var ins []*vswitch.Inlet
	for _, c := range []vswitch.PortConfig{cfg, other} {
		a, err := s.Attach(c, &vswitchtest.Sink{Counters: c.Counters})
		if err != nil {
			tb.Fatal(err)
		}
		a.SetUp(true)
		ins = append(ins, a.NewInlet())
	}
	ins[1].Deliver([]vswitch.Frame{vswitchtest.Frame(vswitchtest.Ether(broadcast, macB, nil))})
	return ins[0]
}

// BenchmarkGuards measures batches of 64 frames of 64 bytes or more from one guest to another, of
// which none is dropped.
func BenchmarkGuards(b *testing.B) {
	many := func(n int) (ps []netip.Prefix) {
		for i := range n {
			ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
			ps = append(ps, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 6: byte(i >> 8), 7: byte(i), 15: 1}), 128))
		}
		return ps
	}
	macs := []vswitch.MAC{macA}
	ipv4 := inEther(v4, ip4("10.0.0.1", "10.0.0.2", 17, 0, 0, udp(1000, 2000)))
	ipv6 := inEther(v6, ip6("fd00::1", 17, udp(1000, 2000)))
	na := inEther(v6, ip6("fd00::1", icmp, icmp6(136, target("fd00::1"), lla(2, macA))))
	all := vswitch.Guards{AllowedMACs: macs, AllowedIPs: many(1), DHCP: true, RA: true, BPDU: true}
	locked := all
	locked.Locked = true
	for _, bm := range []struct {
		name  string
		frame []byte
		g     vswitch.Guards
	}{
		{"none", ipv4, vswitch.Guards{}},
		{"allowed_macs", ipv4, vswitch.Guards{AllowedMACs: macs}},
		{"allowed_ips/1", ipv4, vswitch.Guards{AllowedIPs: many(1)}},
		{"allowed_ips/16", ipv4, vswitch.Guards{AllowedIPs: many(16)}},
		{"allowed_ips/1000", ipv4, vswitch.Guards{AllowedIPs: many(1000)}},
		{"allowed_ips/IPv6/1000", ipv6, vswitch.Guards{AllowedIPs: many(1000)}},
		{"dhcp_guard and ra_guard", ipv4, vswitch.Guards{DHCP: true, RA: true}},
		{"all/IPv4", ipv4, all},
		{"all/IPv6", ipv6, all},
		{"all/neighbour advertisement", na, all},
		{"all and locked/IPv4", ipv4, locked},
	} {
		b.Run(bm.name, func(b *testing.B) {
			cfg := vswitch.DefaultPortConfig("a")
			cfg.Guards = bm.g
			if bm.g.Locked {
				cfg.MACs = macs
			}
			in := attachSinks(b, vswitch.NewStill(vswitch.Config{}), cfg)
			pristine := make([]vswitch.Frame, vswitch.MaxBatch)
			for i := range pristine {
				pristine[i] = vswitchtest.Frame(bm.frame)
				copy(pristine[i].Head, macB[:])
			}
			frames := make([]vswitch.Frame, vswitch.MaxBatch)
			for b.Loop() {
				copy(frames, pristine)
				in.Deliver(frames)
			}
			perFrame(b, len(frames))
		})
	}
}
