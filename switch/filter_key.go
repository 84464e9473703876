package vswitch

import "encoding/binary"

// What filters know of a frame. Everything here reads Head alone, never past its end, and not the
// bytes of a checksum that is to be filled in later, nor those behind it: they could change after
// the filter has read them.

// A filterField is something that rules match.
type filterField uint8

const (
	fieldSrcMAC filterField = iota
	fieldDstMAC
	fieldVLAN
	fieldPCP
	fieldEtherType
	fieldSrc
	fieldDst
	fieldProto
	fieldFragment
	fieldSrcPort
	fieldDstPort
	fieldICMP
	fieldTCPFlags
	numFilterFields
)

// A fieldSet is a set of fields.
type fieldSet uint16

// fields makes a set.
func fields(list ...filterField) (s fieldSet) {
	for _, f := range list {
		s |= 1 << f
	}
	return s
}

const (
	fieldsUpper   = fieldSet(1<<fieldSrcPort | 1<<fieldDstPort | 1<<fieldICMP | 1<<fieldTCPFlags)
	fieldsAddress = fieldSet(1<<fieldSrc | 1<<fieldDst)
	fieldsInner   = fieldSet(1<<fieldProto|1<<fieldFragment) | fieldsUpper
	fieldsIP      = fieldsAddress | fieldsInner
	fieldsFrame   = fieldSet(1<<fieldSrcMAC | 1<<fieldDstMAC | 1<<fieldVLAN | 1<<fieldPCP)
)

// Values of fieldFragment.
const (
	fragmentNone = iota
	fragmentFirst
	fragmentLater
)

// icmpOverIPv6 is the bit of fieldICMP that tells ICMPv6 from ICMP; below it are type and code.
const icmpOverIPv6 = 1 << 16

// A filterKey is the fields of a frame. A field that is neither in has nor in unread is one that
// the frame does not have.
type filterKey struct {
	has      fieldSet
	unread   fieldSet                // fields that the frame may have, but that cannot be read
	v6       bool                    // src and dst are valid, instead of the fields in values
	values   [numFilterFields]uint64 // of the fields in has
	src, dst ipv6
}

// set sets a field.
func (k *filterKey) set(f filterField, v uint64) {
	k.has |= 1 << f
	k.values[f] = v
}

// read reads the fields of a frame in the pipeline.
func (k *filterKey) read(f *Frame) {
	k.has, k.unread, k.v6 = fieldsFrame, 0, false
	k.values[fieldDstMAC] = filterMAC(addrAt(f.Head))
	k.values[fieldSrcMAC] = filterMAC(addrAt(f.Head[6:]))
	k.values[fieldVLAN] = uint64(f.verdict.vlan())
	k.values[fieldPCP] = uint64(f.verdict.tag & tciPCP >> pcpShift)

	head := f.Head[:min(len(f.Head), f.checksumAt())]
	etype, at, ok := networkLayer(head, f.Len)
	if !ok {
		k.unread = fields(fieldEtherType) | fieldsIP
		return
	}
	if etype < etherLeast {
		etype = EtherTypeLLC
	}
	k.set(fieldEtherType, uint64(etype))
	switch etype {
	case etherIPv4:
		k.readIPv4(head, at)
	case etherIPv6:
		k.readIPv6(head, f.Len, at)
	}
}

// filterMAC returns an address as rules match it: the two bits that are often matched alone, group
// and local, are the highest ones.
func filterMAC(a addr) uint64 {
	const first = 40 // the lowest bit of the first byte
	b := uint64(a >> first)
	return (b&1<<7|b&2<<5|b>>2)<<first | uint64(a&(1<<first-1))
}

// readIPv4 reads the fields of an IPv4 packet (RFC 791) at an offset.
func (k *filterKey) readIPv4(head []byte, at int) {
	p := head[at:]
	if len(p) < ipv4Len {
		k.unread |= fieldsIP
		return
	}
	l4, length := int(p[0]&0xf)*4, int(binary.BigEndian.Uint16(p[2:]))
	if length == 0 { // longer than the field can say: the packet ends with the frame
		length = len(p)
	}
	if p[0]>>4 != 4 || l4 < ipv4Len || length < l4 {
		k.unread |= fieldsIP
		return
	}
	k.set(fieldSrc, uint64(binary.BigEndian.Uint32(p[12:])))
	k.set(fieldDst, uint64(binary.BigEndian.Uint32(p[16:])))
	proto := p[9]
	k.set(fieldProto, uint64(proto))
	const offset, more = 0x1fff, 0x2000
	f, state := binary.BigEndian.Uint16(p[6:]), uint64(fragmentNone)
	if f&offset != 0 {
		k.set(fieldFragment, fragmentLater)
		return
	}
	if f&more != 0 {
		state = fragmentFirst
	}
	k.set(fieldFragment, state)
	k.readUpper(p[:min(length, len(p))], l4, proto, 0)
}

// readIPv6 reads the fields of an IPv6 packet at an offset.
func (k *filterKey) readIPv6(head []byte, length, at int) {
	p, ok := parseIPv6(head, length, at)
	if !ok {
		k.unread |= fieldsIP
		return
	}
	k.v6, k.has = true, k.has|fieldsAddress
	k.src, k.dst = p.src, ipv6At(head[at+24:])
	switch {
	case !p.whole:
		k.unread |= fieldsInner
		if p.fragment {
			k.unread &^= fields(fieldFragment)
			k.set(fieldFragment, fragmentFirst)
		}
		return
	case p.later:
		k.set(fieldFragment, fragmentLater)
		if isExtension(p.proto) { // the protocol is in the first fragment
			k.unread |= fields(fieldProto)
		} else {
			k.set(fieldProto, uint64(p.proto))
		}
		return
	case p.fragment:
		k.set(fieldFragment, fragmentFirst)
	default:
		k.set(fieldFragment, fragmentNone)
	}
	k.set(fieldProto, uint64(p.proto))
	k.readUpper(p.head, p.upper, p.proto, icmpOverIPv6)
}

// readUpper reads the fields of the header at an offset of a packet that is not a later fragment.
// family is the bit of fieldICMP for the packet's IP version.
func (k *filterKey) readUpper(packet []byte, at int, proto uint8, family uint64) {
	const flags = 13 // offset in a TCP header
	h := packet[min(at, len(packet)):]
	switch {
	case proto == protoTCP || proto == protoUDP || proto == protoSCTP:
		if len(h) < 4 {
			k.unread |= fields(fieldSrcPort, fieldDstPort)
		} else {
			k.set(fieldSrcPort, uint64(binary.BigEndian.Uint16(h)))
			k.set(fieldDstPort, uint64(binary.BigEndian.Uint16(h[2:])))
		}
		switch {
		case proto != protoTCP:
		case len(h) <= flags:
			k.unread |= fields(fieldTCPFlags)
		default:
			k.set(fieldTCPFlags, uint64(h[flags]))
		}
	case proto == protoICMP && family == 0, proto == protoICMPv6 && family != 0:
		if len(h) < 2 {
			k.unread |= fields(fieldICMP)
		} else {
			k.set(fieldICMP, family|uint64(binary.BigEndian.Uint16(h)))
		}
	}
}
