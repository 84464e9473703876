package netport

import vswitch "vswitchd/switch"

// RARP implements vhostuser.RARPer: it announces a guest that has been migrated to this host, and
// that cannot announce itself, by a broadcast frame from its address. Like QEMU's, the frame is a
// RARP request, "what is my address?" (RFC 903).
func (p *Port) RARP(mac [6]byte) {
	// Receivers' memory may vanish while the frame is copied; their ports handle the fault,
	// if it is a panic.
	defer setPanicOnFault()()
	in := p.attachment.NewInlet()
	defer in.Close()
	room := vswitch.AppendRARP(make([]byte, vswitch.Headroom), mac)
	head := room[vswitch.Headroom:]
	in.Deliver([]vswitch.Frame{{Head: head, Room: room, Len: len(head)}})
}
