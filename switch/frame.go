package vswitch

// Sizes that hold for the frames of every source.
const (
	// Headroom is the number of bytes of Frame.Room before Head when a frame is delivered: space to
	// push two VLAN tags, for which only the two MAC addresses have to be moved.
	Headroom = 8

	// HeadLen is the least that a source copies into Head, in bytes, unless the frame is shorter:
	// headers of Ethernet with two tags, IPv6 and TCP with all options fit.
	HeadLen = 128

	// HeadMax is the most that a source copies into Head, in bytes, if the frame's checksum field
	// or transport header lies beyond HeadLen (because of IPv6 extension headers). A frame that
	// would need more is dropped with DropBadOffload.
	HeadMax = 256

	// MaxTags is the most VLAN tags behind which offloads are done, and that the MTU does not
	// count: two that a frame may come with, and the outer tag of a tunnel.
	MaxTags = 3

	// MaxBatch is the most frames that go through the pipeline together.
	MaxBatch = 64

	// MinFrameLen is the length of the shortest frame that the switch accepts: an Ethernet header.
	// Only frames on a wire have to be padded to 60 bytes.
	MinFrameLen = 14

	// MaxFrameLen is the length of the longest frame that the switch accepts, in bytes: an IP
	// packet of 64 KiB behind an Ethernet header with two VLAN tags.
	MaxFrameLen = 65535 + 14 + 8
)

// A Frame is one Ethernet frame on its way through the switch, without preamble and FCS. Frames are
// borrowed: see the package's documentation.
type Frame struct {
	// Head is the first part of the frame, starting with the destination MAC address, in memory
	// that only this frame's source and the switch can write. Head is at least min(Len, HeadLen)
	// bytes long, and includes the checksum field that Offload names.
	Head []byte

	// Room is the buffer that Head lies in, as delivered: Head begins at Room[Headroom]. The switch
	// uses the bytes before Head to push tags.
	Room []byte

	// Body is the rest of the frame behind Head, in order, in memory that the sender of the frame
	// may still be writing. Empty pieces are allowed.
	Body [][]byte

	// Len is len(Head) plus the lengths of all of Body, in bytes.
	Len int

	// Offload is the work that remains to be done: a checksum to fill in, a segmentation. The zero
	// value means that there is none.
	Offload Offload

	verdict verdict // for the switch alone, valid inside Deliver
}
