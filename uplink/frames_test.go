package uplink

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	vswitch "vswitchd/switch"
)

const ethExperimental = 0x88b5 // for local experiments; no stack answers it

// ethernet returns a frame with a payload of n bytes that are all different from their neighbours
// and depend on seed.
func ethernet(dst, src net.HardwareAddr, etherType uint16, n, seed int) []byte {
	f := slices.Concat(dst, src, binary.BigEndian.AppendUint16(nil, etherType))
	for i := range n {
		f = append(f, byte(i*7+i>>8+seed))
	}
	return f
}

// tagged puts a VLAN tag into a copy of a frame.
func tagged(frame []byte, tpid, tci uint16) []byte {
	return slices.Insert(slices.Clone(frame), 12, byte(tpid>>8), byte(tpid), byte(tci>>8), byte(tci))
}

// IP protocols.
const (
	protoTCP = 6
	protoUDP = 17
)

// ipFrame returns an Ethernet frame with an IPv4 or IPv6 packet with n bytes of TCP or UDP payload,
// the checksum left to whoever comes later, and the offload that says so.
func ipFrame(v6 bool, proto uint8, n int) ([]byte, vswitch.Offload) {
	var l4 []byte
	var field int
	switch proto {
	case protoTCP:
		l4 = []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0}
		field = 16
	case protoUDP:
		l4 = binary.BigEndian.AppendUint16([]byte{0x30, 0x39, 0, 9}, uint16(8+n))
		l4 = append(l4, 0, 0)
		field = 6
	}
	hdr := len(l4)
	for i := range n {
		l4 = append(l4, byte(i*7+i>>8))
	}
	var ip, addrs []byte
	etherType := uint16(0x0800)
	if v6 {
		etherType = 0x86dd
		ip = []byte{0x60, 0, 0, 0, 0, 0, proto, 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
		addrs = slices.Concat(net.ParseIP("fd00::1"), net.ParseIP("fd00::2"))
		ip = append(ip, addrs...)
	} else {
		ip = []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
		addrs = []byte{10, 0, 0, 1, 10, 0, 0, 2}
		ip = append(ip, addrs...)
		binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))
	}
	binary.BigEndian.PutUint16(l4[field:], sum(uint32(proto)+uint32(len(l4)), addrs))
	frame := slices.Concat(farMAC, guestMAC, binary.BigEndian.AppendUint16(nil, etherType), ip, l4)
	start := 14 + len(ip)
	return frame, vswitch.Offload{
		Flags:      vswitch.HdrNeedsCsum,
		HdrLen:     uint16(start + hdr),
		CsumStart:  uint16(start),
		CsumOffset: uint16(field),
	}
}

// sum is the Internet checksum's sum of b, not inverted.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// openIP checks an IPv4 or IPv6 packet of TCP or UDP in a frame with l2 bytes before the network
// header, its checksums too, and returns its payload.
func openIP(frame []byte, l2 int) ([]byte, error) {
	if len(frame) < l2+40 {
		return nil, fmt.Errorf("frame of %d bytes", len(frame))
	}
	p := frame[l2:]
	var proto uint8
	var l4, addrs []byte
	switch p[0] >> 4 {
	case 4:
		if sum(0, p[:20]) != 0xffff {
			return nil, fmt.Errorf("wrong IPv4 header checksum")
		}
		proto, addrs, l4 = p[9], p[12:20], p[20:binary.BigEndian.Uint16(p[2:])]
	case 6:
		proto, addrs, l4 = p[6], p[8:40], p[40:40+binary.BigEndian.Uint16(p[4:])]
	default:
		return nil, fmt.Errorf("IP version %d", p[0]>>4)
	}
	if sum(uint32(proto)+uint32(len(l4))+uint32(sum(0, addrs)), l4) != 0xffff {
		return nil, fmt.Errorf("wrong checksum of protocol %d", proto)
	}
	if proto == protoUDP {
		return l4[8:], nil
	}
	return l4[l4[12]>>4*4:], nil
}

// frameOf cuts a frame like a guest's port does: Head, and Body in pieces.
func frameOf(data []byte, o vswitch.Offload, pieces int) *vswitch.Frame {
	head := min(len(data), vswitch.HeadLen)
	room := make([]byte, vswitch.Headroom+head)
	copy(room[vswitch.Headroom:], data)
	f := &vswitch.Frame{Head: room[vswitch.Headroom:], Room: room, Len: len(data), Offload: o}
	rest := data[head:]
	for i := pieces; i > 0; i-- {
		n := (len(rest) + i - 1) / i
		f.Body = append(f.Body, rest[:n])
		rest = rest[n:]
	}
	return f
}
