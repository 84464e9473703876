package vswitch

import "encoding/binary"

// Replies on behalf of other stations.

// advertLen is the length of a neighbor advertisement with a target link-layer address.
const advertLen = 24 + 8

// answerARP makes the reply to an ARP request: target has address mac.
func (w *ownFrames) answerARP(request *Frame, a *arpPacket, mac addr) {
	p := w.begin(request.verdict, a.mac, mac, etherARP, arpLen)
	copy(p, []byte{0, 1, 8, 0, 6, 4, 0, arpReply})
	sender, target := mac.mac(), a.mac.mac()
	copy(p[8:], sender[:])
	binary.BigEndian.PutUint32(p[14:], a.target)
	copy(p[18:], target[:])
	binary.BigEndian.PutUint32(p[24:], a.sender)
}

// answerND makes the advertisement that answers a solicitation (RFC 4861, section 7.2.4): its
// target has address mac. The answer to duplicate address detection, which has no source address,
// goes to all nodes.
func (w *ownFrames) answerND(request *Frame, m *ndMessage, mac addr, router bool) {
	const allNodes = addr(0x333300000001)
	to, dst, flags := m.link, m.src, uint8(ndSolicited|ndOverride)
	switch {
	case m.src == (ipv6{}):
		to, dst, flags = allNodes, ipv6{0xff02 << 48, 1}, ndOverride
	case to == 0:
		to = addrAt(request.Head[6:])
	}
	if router {
		flags |= ndRouter
	}
	p := w.begin(request.verdict, to, mac, etherIPv6, ipv6Len+advertLen)
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], advertLen)
	p[6], p[7] = protoICMPv6, ndHopLimit
	m.target.put(p[8:])
	dst.put(p[24:])
	msg, link := p[ipv6Len:], mac.mac()
	msg[0], msg[4] = neighborAdvert, flags
	m.target.put(msg[8:])
	msg[24], msg[25] = ndTargetOption, 1
	copy(msg[26:], link[:])
	binary.BigEndian.PutUint16(msg[icmpv6Csum:], icmpv6Checksum(p, msg))
}

// put stores the address at the start of b.
func (a ipv6) put(b []byte) {
	binary.BigEndian.PutUint64(b, a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
}
