package netport

import (
	"encoding/binary"

	vswitch "vswitchd/switch"
)

// RARP implements vhostuser.RARPer: a guest that has been migrated to here, and that
// cannot announce itself, is announced by a frame from its address to everybody, as
// QEMU would send it: a RARP request, "what is my address?" (RFC 903).
func (p *Port) RARP(mac [6]byte) {
	// Receivers' memory may vanish while the frame is copied; their ports deal with
	// that, if it is a panic.
	defer setPanicOnFault()()
	in := p.attachment.NewInlet()
	defer in.Close()
	room := rarpFrame(mac)
	head := room[vswitch.Headroom:]
	in.Deliver([]vswitch.Frame{{Head: head, Room: room, Len: len(head)}})
}

// rarpFrame makes the frame, of the least length that Ethernet has, behind a headroom.
func rarpFrame(mac [6]byte) []byte {
	f := make([]byte, vswitch.Headroom, vswitch.Headroom+60)
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	f = append(f, mac[:]...)
	for _, v := range []uint16{
		0x8035, // RARP
		1,      // hardware: Ethernet
		0x0800, // protocol: IPv4
		0x0604, // lengths of addresses
		3,      // request reverse
	} {
		f = binary.BigEndian.AppendUint16(f, v)
	}
	f = append(f, mac[:]...)
	f = append(f, 0, 0, 0, 0)
	f = append(f, mac[:]...)
	return f[:cap(f)]
}
