package vswitch

import "encoding/binary"

// The packets that guards look into: ARP, IPv4, IPv6 and neighbour discovery. Everything here reads
// Head alone, and never past its end. A packet that cannot be judged is dropped, as
// DropGuardUnreadable: if Head or the packet ends within a header that a guard needs, if such a
// header is malformed, or if it would be changed after the guard has read it, because a checksum is
// requested at a place within it.

// What can stand where the type of the packet is looked for.
const (
	tpidOld    = 0x9100 // tags of types that devices used before 802.1ad
	tpidOlder  = 0x9200
	etherLeast = 0x0600 // below: a length, followed by an LLC header (IEEE 802.3-2018, 3.2.6)

	snapLen = 6 // LLC header and OUI of a SNAP header, before its type (IEEE 802-2014, 9.2)
)

// networkLayer returns the type and the offset of the packet behind tags and SNAP headers, any
// number of them in any order: receivers differ in what they accept, and an attacker can hide a
// packet from a guard that stops at the second tag. head is the first part of a frame of the given
// length; ok is false if head ends before.
func networkLayer(head []byte, length int) (etype uint16, at int, ok bool) {
	for at = macsLen; at+2 <= len(head); {
		etype = binary.BigEndian.Uint16(head[at:])
		at += 2
		switch {
		case isTag(etype) || etype == tpidOld || etype == tpidOlder:
			at += 2
		case etype >= etherLeast:
			return etype, at, true
		case at+snapLen <= len(head):
			if !isSNAP(head[at:]) {
				return etype, at, true
			}
			at += snapLen
		default:
			return etype, at, len(head) == length
		}
	}
	return 0, 0, false
}

// isSNAP reports whether a SNAP header whose type is an EtherType begins b, which has snapLen bytes
// at least: with the OUI of RFC 1042, or that of bridge tunnel encapsulation (IEEE 802.1H).
func isSNAP(b []byte) bool {
	return b[0] == 0xaa && b[1] == 0xaa && b[2] == 3 && b[3] == 0 && b[4] == 0 && (b[5] == 0 || b[5] == 0xf8)
}

// allowsPacket reports whether the packet in a frame is allowed.
func (g *guard) allowsPacket(f *Frame) (DropReason, bool) {
	etype, at, ok := networkLayer(f.Head, f.Len)
	if !ok {
		return DropGuardUnreadable, false
	}
	switch etype {
	case etherIPv4:
		if g.ips != nil || g.dhcp {
			return g.allowsIPv4(f, at)
		}
	case etherIPv6:
		return g.allowsIPv6(f, at)
	case etherARP, etherRARP:
		if g.ips != nil {
			return g.allowsARP(f, at)
		}
	}
	return 0, true
}

// allowsARP judges an ARP packet (RFC 826) for IPv4 over Ethernet, or a RARP packet (RFC 903). Its
// sender's addresses, as a pair, are what receivers learn.
func (g *guard) allowsARP(f *Frame, at int) (DropReason, bool) {
	const (
		length           = 28
		ethernetIPv4     = 0x00010800 // hardware and protocol type
		lengths          = 0x0604
		request, reverse = 1, 3
	)
	p := f.Head[at:]
	if len(p) < length || f.checksumAt() != noChecksum || binary.BigEndian.Uint32(p) != ethernetIPv4 || binary.BigEndian.Uint16(p[4:]) != lengths {
		return DropGuardUnreadable, false
	}
	if len(g.macs) > 0 && !g.macs.has(addrAt(p[8:])) {
		return DropMACSpoofed, false
	}
	sender, op := binary.BigEndian.Uint32(p[14:]), binary.BigEndian.Uint16(p[6:])
	if sender == 0 && (op == request || op == reverse) { // a probe (RFC 5227), or as QEMU announces itself
		return 0, true
	}
	return DropIPSpoofed, g.ips.has4(sender)
}

// allowsIPv4 judges an IPv4 packet (RFC 791).
func (g *guard) allowsIPv4(f *Frame, at int) (DropReason, bool) {
	const bootps, bootpc = 67, 68 // RFC 2131, section 4.1
	p := f.Head[at:]
	if len(p) < ipv4Len || p[0]>>4 != 4 || p[0]&0xf < ipv4Len/4 {
		return DropGuardUnreadable, false
	}
	l4, sum := int(p[0]&0xf)*4, f.checksumAt()-at
	fragment := binary.BigEndian.Uint16(p[6:])
	udp, ports := p[9] == protoUDP && fragment&0x1fff == 0, len(p) >= l4+4 && sum >= l4+4
	if sum < l4 {
		return DropGuardUnreadable, false
	}
	if g.ips != nil {
		src, dst := binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])
		fresh := src == 0 && dst == 0xffffffff && udp && fragment&0x2000 == 0 && ports &&
			binary.BigEndian.Uint16(p[l4+2:]) == bootps
		if !fresh && !g.ips.has4(src) {
			return DropIPSpoofed, false
		}
	}
	switch {
	case !g.dhcp || !udp:
		return 0, true
	case !ports:
		return DropGuardUnreadable, false
	}
	return DropDHCPGuard, !fromServer(p[l4:], bootps, bootpc)
}

// fromServer reports whether a UDP header of at least 4 bytes is one of an answer by a DHCP server
// or relay. Clients look at the destination port alone.
func fromServer(udp []byte, server, client uint16) bool {
	return binary.BigEndian.Uint16(udp) == server || binary.BigEndian.Uint16(udp[2:]) == client
}

// noChecksum is more than any offset.
const noChecksum = 1 << 20

// checksumAt returns the offset of the checksum that the frame's offload request asks for, or
// noChecksum. The two bytes there may change later.
func (f *Frame) checksumAt() int {
	if f.Offload.Flags&HdrNeedsCsum == 0 {
		return noChecksum
	}
	return int(f.Offload.CsumStart) + int(f.Offload.CsumOffset)
}

// addrAt reads the address at the start of b.
func addrAt(b []byte) addr {
	return addr(binary.BigEndian.Uint16(b))<<32 | addr(binary.BigEndian.Uint32(b[2:]))
}
