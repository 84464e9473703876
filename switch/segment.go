package vswitch

import "encoding/binary"

// Software segmentation, with the same results as Linux's (tcp_gso_segment, __udp_gso_segment,
// inet_gso_segment and ipv6_gso_segment), byte for byte.

// TCP flags, in byte 13 of the header, that only one of the segments keeps.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// segment emits the segments that f asks for.
func (w *workbench) segment(f *Frame, g *gso) {
	if f.Offload.GSOType == GSOUDP {
		w.fragment(f, g)
	} else {
		w.cut(f, g)
	}
}

// cut emits f as TCP segments or UDP datagrams with a payload of g.size bytes each.
//
// The headers of all segments are the same except for a few fields. So these fields are set to 0 in
// a copy of the headers, from which the headers of each segment are made; the checksums of each
// segment start from the sums of that copy.
func (w *workbench) cut(f *Frame, g *gso) {
	t := w.headers[:copy(w.headers[:], f.Head[:g.end])]
	ip := newIPTemplate(t, &g.headers)
	l4 := newL4Template(t, g, f.Len-g.l4)
	rest := payload{f.Head[g.end:], f.Body}
	for n, left := 0, f.Len-g.end; left > 0 || n == 0; n++ {
		size := min(g.size, left)
		left -= size
		s := w.newSegment(t)
		sum := l4.sum
		w.take(s, &rest, size, &sum)
		// Segments have different ids, even if they must not be fragmented.
		ip.finish(s.Head, ip.id+uint16(n), ip.frag, size)
		l4.finish(s.Head, n, size, left == 0, sum)
		if g.encap {
			sum.addSum(^l4.sum.sum) // the sum of the payload remains
			g.outer.finish(s, n, f.Len, sum)
		}
		w.emit(s)
	}
}

// newSegment returns an unused segment of the workbench, whose Head is a copy of head and whose
// Body is empty.
func (w *workbench) newSegment(head []byte) *Frame {
	room := w.rooms[w.numSegments][:]
	s := &w.segments[w.numSegments]
	w.numSegments++
	end := Headroom + copy(room[Headroom:], head)
	*s = Frame{Head: room[Headroom:end], Room: room, Len: len(head)}
	return s
}

// A payload is the part of a frame that no segment has yet.
type payload struct {
	first []byte
	next  [][]byte
}

// take moves the next n bytes of the payload, or all if there are fewer, to the Body of s, which
// was empty, and adds them to sum.
func (w *workbench) take(s *Frame, p *payload, n int, sum *checksum) {
	begin := len(w.pieces)
	for n > 0 {
		if len(p.first) == 0 {
			if len(p.next) == 0 {
				break
			}
			p.first, p.next = p.next[0], p.next[1:]
			continue
		}
		k := min(n, len(p.first))
		piece := p.first[:k:k]
		p.first = p.first[k:]
		n -= k
		sum.add(piece)
		s.Len += k
		w.pieces = append(w.pieces, piece)
	}
	s.Body = w.pieces[begin:len(w.pieces):len(w.pieces)]
}

// An ipTemplate finishes the IP headers of segments.
type ipTemplate struct {
	v6     bool
	l3     int      // where the IP header begins
	behind int      // length of the headers that the length field includes, in bytes
	id     uint16   // IPv4 only, as are the following
	frag   uint16   // flags and fragment offset
	sum    checksum // of the header with length, id, frag and checksum 0
}

// newIPTemplate clears the fields of the IP header that differ between segments in t, a frame's
// headers. The payload of each segment begins where t ends.
func newIPTemplate(t []byte, h *headers) (p ipTemplate) {
	p.v6, p.l3 = h.v6, h.l3
	ip := t[h.l3:]
	if h.v6 {
		p.behind = len(ip) - ipv6Len
		return p
	}
	p.behind = len(ip)
	p.id = binary.BigEndian.Uint16(ip[4:])
	p.frag = binary.BigEndian.Uint16(ip[6:])
	clear(ip[2:8])
	clear(ip[10:12])
	p.sum.add(t[h.l3:h.l4])
	return p
}

// finish fills in the IP header of a segment with a payload of size bytes; id and frag are for
// IPv4.
func (p *ipTemplate) finish(head []byte, id, frag uint16, size int) {
	ip := head[p.l3:]
	length := uint16(p.behind + size)
	if p.v6 {
		binary.BigEndian.PutUint16(ip[4:], length)
		return
	}
	sum := p.sum
	sum.addField(length)
	sum.addField(id)
	sum.addField(frag)
	binary.BigEndian.PutUint16(ip[2:], length)
	binary.BigEndian.PutUint16(ip[4:], id)
	binary.BigEndian.PutUint16(ip[6:], frag)
	binary.BigEndian.PutUint16(ip[10:], sum.field())
}

// An l4Template finishes the TCP or UDP headers of segments.
type l4Template struct {
	tcp    bool
	l4     int
	length int      // of the header
	mss    int      // payload of each segment except the last
	sum    checksum // of pseudo-header and header, with the cleared fields and all lengths 0

	seq   uint32 // TCP only
	flags byte
}

// newL4Template clears the fields of the transport header that differ between segments in t, a
// frame's headers. length is the length of the whole packet from l4 on.
//
// The checksum field holds the sum of the pseudo-header, from which the length is subtracted. That
// sum is not computed from the IP header: with a routing header, the destination address of the
// pseudo-header differs from that of the IPv6 header (RFC 8200, section 8.1).
func newL4Template(t []byte, g *gso, length int) (p l4Template) {
	l4 := t[g.l4:]
	p.tcp = g.proto == protoTCP
	p.l4 = g.l4
	p.length = len(l4)
	p.mss = g.size
	if p.tcp {
		p.sum.addField(^uint16(length))
		p.seq = binary.BigEndian.Uint32(l4[4:])
		p.flags = l4[13]
		clear(l4[4:8])
		l4[13] = 0
		p.sum.add(l4)
		clear(l4[tcpCsum : tcpCsum+2])
		return p
	}
	// The length is in the UDP header as well; Linux uses that field.
	p.sum.addField(^binary.BigEndian.Uint16(l4[4:]))
	clear(l4[4:6])
	p.sum.add(l4)
	clear(l4[udpCsum : udpCsum+2])
	return p
}

// finish fills in the header of the n-th segment; size is the length of its payload, and sum is the
// template's sum with the payload added.
func (p *l4Template) finish(head []byte, n, size int, last bool, sum checksum) {
	l4 := head[p.l4:]
	length := uint16(p.length + size)
	// For the checksum, a payload of odd length is padded with a 0.
	sum.odd = false
	sum.addField(length)
	if !p.tcp {
		sum.addField(length)
		binary.BigEndian.PutUint16(l4[4:], length)
		binary.BigEndian.PutUint16(l4[udpCsum:], sum.fieldOrOnes())
		return
	}
	seq := p.seq + uint32(n*p.mss)
	flags := p.flags
	if n > 0 {
		flags &^= tcpCWR
	}
	if !last {
		flags &^= tcpFIN | tcpPSH
	}
	sum.addField(uint16(seq >> 16))
	sum.addField(uint16(seq))
	sum.addField(uint16(flags))
	binary.BigEndian.PutUint32(l4[4:], seq)
	l4[13] = flags
	binary.BigEndian.PutUint16(l4[tcpCsum:], sum.field())
}
