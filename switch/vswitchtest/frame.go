package vswitchtest

import (
	"encoding/binary"
	"slices"

	vswitch "vswitchd/switch"
)

// Frame makes a frame from b as a driver delivers it: up to vswitch.HeadLen bytes are copied into
// Head, with headroom before them; the rest is one piece of Body.
func Frame(b []byte) vswitch.Frame {
	n := min(len(b), vswitch.HeadLen)
	f := vswitch.Frame{Room: make([]byte, vswitch.Headroom+vswitch.HeadMax), Len: len(b)}
	f.Head = f.Room[vswitch.Headroom : vswitch.Headroom+n]
	copy(f.Head, b)
	if n < len(b) {
		f.Body = [][]byte{b[n:]}
	}
	return f
}

// A Tag is a VLAN tag, which is 4 bytes on the wire.
type Tag struct {
	Type uint16 // 0: 0x8100
	TCI  uint16 // priority (3 bits), DEI (1 bit), VLAN (12 bits)
}

// Ether returns the bytes of an Ethernet frame: addresses, tags, the type of local experiments
// (0x88B5) and payload.
func Ether(dst, src vswitch.MAC, payload []byte, tags ...Tag) []byte {
	b := slices.Concat(dst[:], src[:])
	for _, t := range tags {
		if t.Type == 0 {
			t.Type = 0x8100
		}
		b = binary.BigEndian.AppendUint16(b, t.Type)
		b = binary.BigEndian.AppendUint16(b, t.TCI)
	}
	b = binary.BigEndian.AppendUint16(b, 0x88b5)
	return append(b, payload...)
}

// Station returns the n-th of a series of unicast addresses.
func Station(n int) vswitch.MAC {
	m := vswitch.MAC{0x52, 0x54}
	binary.BigEndian.PutUint32(m[2:], uint32(n))
	return m
}

// Broadcast is the address of all stations.
var Broadcast = vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
