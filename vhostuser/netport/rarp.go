package netport

import (
	"encoding/binary"

	vswitch "vswitchd/switch"
)

// RARP implements vhostuser.RARPer: it announces a guest that has been migrated to this host, and
// that cannot announce itself, by a broadcast frame from its address. Like QEMU's, the frame is a
// RARP request, "what is my address?" (RFC 903).
func (p *Port) RARP(mac [6]byte) {
	// Receivers' memory may vanish while the frame is copied; their ports handle the fault,
	// if it is a panic.
	defer setPanicOnFault()()
	in := p.attachment.NewInlet()
	defer in.Close()
	room := rarpFrame(mac)
	head := room[vswitch.Headroom:]
	in.Deliver([]vswitch.Frame{{Head: head, Room: room, Len: len(head)}})
}

// rarpFrame returns the frame, of Ethernet's minimum length, after a headroom.
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
