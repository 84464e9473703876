package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Queries that the switch itself sends.

// An ownQuery describes a query. RFC 2236, section 2; RFC 3376, section 4.1; RFC 2710, section 3;
// RFC 3810, section 5.1.
type ownQuery struct {
	net     netKey
	group   groupAddr   // zero: a general query
	sources []groupAddr // of the group; nil: all
	port    *mcastPort  // nil: all ports in the VLAN
}

// Parts of queries and of their packets.
const (
	igmpQuery = 0x11
	mldQuery  = 130

	tosControl   = 0xc0 // IP precedence 6, as Linux sends queries
	dontFragment = 0x40
)

// routerAlert4 is the router alert option of IPv4 (RFC 2113), and routerAlert6 a hop-by-hop options
// header with that of IPv6 (RFC 2711), before ICMPv6.
var (
	routerAlert4 = []byte{0x94, 4, 0, 0}
	routerAlert6 = []byte{protoICMPv6, 0, 5, 2, 0, 0, 1, 0}
)

// frame returns the Ethernet frame of a query from the switch with address mac.
func (q *ownQuery) frame(mac MAC, cfg *QuerierConfig) []byte {
	if q.net.v6 {
		return q.mld(mac, cfg)
	}
	return q.igmp(mac, cfg)
}

func (q *ownQuery) respond() uint32 {
	if q.group == (groupAddr{}) {
		return defaultResponse
	}
	return lastMemberInterval
}

func (q *ownQuery) igmp(mac MAC, cfg *QuerierConfig) []byte {
	msg := make([]byte, 8, 12+4*len(q.sources))
	msg[0], msg[1] = igmpQuery, byte(q.respond()*10)
	dst := []byte{224, 0, 0, 1}
	if q.group != (groupAddr{}) {
		dst = q.group.bytes()
		copy(msg[4:], dst)
	}
	if cfg.igmp() >= 3 {
		msg = q.appendSources(msg)
	}
	binary.BigEndian.PutUint16(msg[2:], sumOf(msg))

	src := cfg.address(false, mac).bytes()
	ip := slices.Concat([]byte{0x46, tosControl, 0, 0, 0, 0, dontFragment, 0, 1, protoIGMP, 0, 0}, src, dst, routerAlert4)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(msg)))
	binary.BigEndian.PutUint16(ip[10:], sumOf(ip))

	// RFC 1112, section 6.4.
	eth := []byte{1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3]}
	eth = append(eth, mac[:]...)
	return slices.Concat(binary.BigEndian.AppendUint16(eth, etherIPv4), ip, msg)
}

func (q *ownQuery) mld(mac MAC, cfg *QuerierConfig) []byte {
	msg := make([]byte, 24, 28+16*len(q.sources))
	msg[0] = mldQuery
	binary.BigEndian.PutUint16(msg[4:], uint16(q.respond()*1000))
	dst := groupAddr{0xff02 << 48, 1}.bytes()
	if q.group != (groupAddr{}) {
		dst = q.group.bytes()
		copy(msg[8:], dst)
	}
	if cfg.mld() >= 2 {
		msg = q.appendSources(msg)
	}

	ip := slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, protoHopByHop, 1}, cfg.address(true, mac).bytes(), dst)
	binary.BigEndian.PutUint16(ip[4:], uint16(len(routerAlert6)+len(msg)))
	binary.BigEndian.PutUint16(msg[2:], icmpv6Sum(ip, msg))

	// RFC 2464, section 7.
	eth := append([]byte{0x33, 0x33}, dst[12:]...)
	eth = append(eth, mac[:]...)
	return slices.Concat(binary.BigEndian.AppendUint16(eth, etherIPv6), ip, routerAlert6, msg)
}

// appendSources appends what IGMPv3 and MLDv2 have in addition. The flag S is clear: what the query
// asks about ends soon at other routers, too.
func (q *ownQuery) appendSources(msg []byte) []byte {
	msg = append(msg, lastMemberCount, queryInterval) // the robustness variable has the same value
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(q.sources)))
	for _, s := range q.sources {
		msg = append(msg, s.bytes()...)
	}
	return msg
}

// address returns the source address of queries of an IP version.
func (c *QuerierConfig) address(v6 bool, mac MAC) groupAddr {
	switch {
	case !v6 && c.IPv4.IsValid():
		return groupOf(c.IPv4)
	case !v6:
		return groupOf(netip.IPv4Unspecified())
	case c.IPv6.IsValid():
		return groupOf(c.IPv6)
	}
	return linkLocalOf(mac)
}

// linkLocalOf returns the link-local address of the station with address m. RFC 4291, appendix A.
func linkLocalOf(m MAC) groupAddr {
	return group6([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
