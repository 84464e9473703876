package vswitch_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	vswitch "vswitchd/switch"
)

// Builders of IP multicast frames.

// groupMAC returns the Ethernet address of a group (RFC 1112, section 6.4; RFC 2464, section 7).
func groupMAC(group netip.Addr) vswitch.MAC {
	b := group.AsSlice()
	if group.Is4() {
		return vswitch.MAC{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return vswitch.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// onesSum returns the Internet checksum of b.
func onesSum(b ...byte) uint16 {
	sum := uint32(0)
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ipv4 makes a frame with an IPv4 packet to dst. options are a multiple of 4 bytes.
func ipv4(src vswitch.MAC, from, dst netip.Addr, id int, proto byte, options, payload []byte) []byte {
	mac := groupMAC(dst)
	b := slices.Concat(mac[:], src[:], []byte{8, 0})
	ip := []byte{byte(0x45 + len(options)/4), 0, 0, 0, byte(id >> 8), byte(id), 0, 0, 1, proto, 0, 0}
	ip = slices.Concat(ip, from.AsSlice(), dst.AsSlice(), options)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload)))
	binary.BigEndian.PutUint16(ip[10:], onesSum(ip...))
	return slices.Concat(b, ip, payload)
}

// ipv6 makes a frame with an IPv6 packet to dst; next is the type of the payload.
func ipv6(src vswitch.MAC, from, dst netip.Addr, id int, next byte, payload []byte) []byte {
	mac := groupMAC(dst)
	b := slices.Concat(mac[:], src[:], []byte{0x86, 0xdd})
	ip := []byte{0x60, 0, byte(id >> 8), byte(id), 0, 0, next, 1}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(payload)))
	return slices.Concat(b, ip, from.AsSlice(), dst.AsSlice(), payload)
}

// igmp makes a frame with an IGMP message, whose checksum it fills in.
func igmp(src vswitch.MAC, from, dst netip.Addr, id int, msg ...byte) []byte {
	msg = slices.Clone(msg)
	binary.BigEndian.PutUint16(msg[2:], onesSum(msg...))
	return ipv4(src, from, dst, id, 2, []byte{0x94, 4, 0, 0}, msg)
}

// mld makes a frame with an ICMPv6 message behind a router alert, and fills in the checksum.
func mld(src vswitch.MAC, from, dst netip.Addr, id int, msg ...byte) []byte {
	msg = slices.Clone(msg)
	pseudo := slices.Concat(from.AsSlice(), dst.AsSlice(), []byte{0, 0, byte(len(msg) >> 8), byte(len(msg)), 0, 0, 0, 58}, msg)
	binary.BigEndian.PutUint16(msg[2:], onesSum(pseudo...))
	return ipv6(src, from, dst, id, 0, slices.Concat([]byte{58, 0, 5, 2, 0, 0, 1, 0}, msg))
}

var (
	noIPv4   = netip.IPv4Unspecified()
	hostIPv4 = netip.MustParseAddr("10.0.0.9")
	hostIPv6 = netip.MustParseAddr("fe80::9")
	noIPv6   = netip.IPv6Unspecified()
)

// multicastData makes a frame with a datagram to a group.
func multicastData(src vswitch.MAC, group netip.Addr, id int) []byte {
	if group.Is4() {
		return multicastDataFrom(src, hostIPv4, group, id)
	}
	return multicastDataFrom(src, hostIPv6, group, id)
}

// multicastDataFrom is multicastData from an IP address.
func multicastDataFrom(src vswitch.MAC, from, group netip.Addr, id int) []byte {
	payload := []byte("datagram, of which only the addresses matter")
	if group.Is4() {
		return ipv4(src, from, group, id, 17, nil, payload)
	}
	return ipv6(src, from, group, id, 17, payload)
}

// record is a record of an IGMPv3 or MLDv2 report.
func record(kind byte, group netip.Addr, sources ...netip.Addr) []byte {
	b := slices.Concat([]byte{kind, 0, 0, byte(len(sources))}, group.AsSlice())
	for _, s := range sources {
		b = append(b, s.AsSlice()...)
	}
	return b
}

// reportOf makes a frame with an IGMPv3 or MLDv2 report of records, which are of one IP version.
func reportOf(src vswitch.MAC, v6 bool, id int, records ...[]byte) []byte {
	all := slices.Concat(records...)
	if v6 {
		return mld(src, hostIPv6, netip.MustParseAddr("ff02::16"), id, append([]byte{143, 0, 0, 0, 0, 0, 0, byte(len(records))}, all...)...)
	}
	return igmp(src, hostIPv4, netip.MustParseAddr("224.0.0.22"), id, append([]byte{0x22, 0, 0, 0, 0, 0, 0, byte(len(records))}, all...)...)
}

// oldReport makes a frame with an IGMPv2 or MLDv1 report.
func oldReport(src vswitch.MAC, group netip.Addr, id int) []byte {
	if group.Is4() {
		return igmp(src, hostIPv4, group, id, append([]byte{0x16, 0, 0, 0}, group.AsSlice()...)...)
	}
	return mld(src, hostIPv6, group, id, append([]byte{131, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice()...)...)
}

// igmpV1 makes a frame with an IGMPv1 message (RFC 1112, appendix I): 0x11, a query, or 0x12, a
// report. There is no router alert.
func igmpV1(src vswitch.MAC, from, group netip.Addr, id int, kind byte) []byte {
	dst := group
	if kind == 0x11 {
		dst = netip.MustParseAddr("224.0.0.1")
	}
	msg := slices.Concat([]byte{kind, 0, 0, 0}, group.AsSlice())
	binary.BigEndian.PutUint16(msg[2:], onesSum(msg...))
	return ipv4(src, from, dst, id, 2, nil, msg)
}

// leaveOf makes a frame with an IGMPv2 leave or MLDv1 done message.
func leaveOf(src vswitch.MAC, group netip.Addr, id int) []byte {
	if group.Is4() {
		return igmp(src, hostIPv4, netip.MustParseAddr("224.0.0.2"), id, append([]byte{0x17, 0, 0, 0}, group.AsSlice()...)...)
	}
	return mld(src, hostIPv6, netip.MustParseAddr("ff02::2"), id, append([]byte{132, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice()...)...)
}

// queryFor makes a frame with an IGMPv2 or MLDv1 query about a group (unspecified: all groups), to
// be answered within a second.
func queryFor(src vswitch.MAC, from, group netip.Addr, id int) []byte {
	dst := group
	if group.Is4() {
		if group.IsUnspecified() {
			dst = netip.MustParseAddr("224.0.0.1")
		}
		return igmp(src, from, dst, id, append([]byte{0x11, 10, 0, 0}, group.AsSlice()...)...)
	}
	if group.IsUnspecified() {
		dst = netip.MustParseAddr("ff02::1")
	}
	return mld(src, from, dst, id, append([]byte{130, 0, 0, 0, 3, 0xe8, 0, 0}, group.AsSlice()...)...)
}
