package vswitch

// Sizes that every source of frames keeps to.
const (
	// Headroom is how many bytes of Frame.Room lie before Head when a frame
	// is delivered: space for two VLAN tags to be pushed without moving more
	// than the two MAC addresses.
	Headroom = 8

	// HeadLen is how much of a frame a source copies into Head at least, in
	// bytes, if the frame is that long: Ethernet, two tags, IPv6 and a full TCP
	// header fit.
	HeadLen = 128

	// HeadMax is the most that a source may have to copy into Head, in bytes,
	// because the frame's checksum field or its transport header lies behind
	// HeadLen (IPv6 extension headers). A frame that would need more is
	// dropped with DropBadOffload.
	HeadMax = 256

	// MaxBatch is how many frames one Deliver takes at most.
	MaxBatch = 64

	// MinFrameLen is the shortest frame the switch takes: an Ethernet header.
	// Padding to 60 bytes is a matter of wires, not of memory.
	MinFrameLen = 14

	// MaxFrameLen is the longest frame the switch takes, in bytes: 64 KiB of
	// IP packet behind an Ethernet header with two VLAN tags.
	MaxFrameLen = 65535 + 14 + 8
)

// A Frame is one Ethernet frame on its way through the switch, without
// preamble and FCS. It is borrowed: see the package's documentation.
type Frame struct {
	// Head is the first part of the frame, starting with the destination MAC
	// address, in memory that only this frame's source and the switch can
	// write. It is at least min(Len, HeadLen) bytes long, and covers the
	// checksum field that Offload names.
	Head []byte

	// Room is the buffer that Head lies in, as delivered: Head begins at
	// Room[Headroom]. The switch uses the bytes before Head to push tags.
	Room []byte

	// Body is the rest of the frame behind Head, in order, in memory that
	// whoever sent the frame may still be writing. Empty pieces are allowed.
	Body [][]byte

	// Len is len(Head) plus the lengths of all of Body, in bytes.
	Len int

	// Offload is what remains to be done to the frame: a checksum to fill in,
	// a segmentation. The zero value: nothing.
	Offload Offload

	verdict verdict // the switch's own, valid inside Deliver
}
