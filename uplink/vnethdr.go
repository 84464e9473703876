package uplink

import (
	"encoding/binary"

	vswitch "vswitchd/switch"
)

// vnetHdrLen is the size of struct virtio_net_hdr as PACKET_VNET_HDR puts it before each frame:
// without num_buffers, in the host's byte order.
const vnetHdrLen = 10

// A vnetHdr is a struct virtio_net_hdr on its way to or from the kernel.
type vnetHdr [vnetHdrLen]byte

// decodeVnetHdr reads the header that the kernel wrote before a frame. b holds at least vnetHdrLen
// bytes.
func decodeVnetHdr(b []byte) vswitch.Offload {
	_ = b[vnetHdrLen-1]
	return vswitch.Offload{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// encode writes frame f's header for the kernel.
//
// hdr_len comes from a guest and is only a hint to a device, but not to the kernel: it refuses a
// frame that is shorter than hdr_len, and allocates that much in one piece, which for a large value
// fails when memory is fragmented. So hdr_len is bounded by what a source had to make linear; the
// kernel raises it to cover the checksum field.
func (h *vnetHdr) encode(f *vswitch.Frame) {
	o := &f.Offload
	*h = vnetHdr{}
	if o.Flags&vswitch.HdrNeedsCsum != 0 {
		h[0] = vswitch.HdrNeedsCsum
		binary.NativeEndian.PutUint16(h[6:], o.CsumStart)
		binary.NativeEndian.PutUint16(h[8:], o.CsumOffset)
	}
	if o.GSOType != vswitch.GSONone {
		h[1] = o.GSOType
		binary.NativeEndian.PutUint16(h[4:], o.GSOSize)
	}
	if h[0]|h[1] != 0 {
		binary.NativeEndian.PutUint16(h[2:], uint16(min(int(o.HdrLen), len(f.Head), vswitch.HeadMax)))
	}
}
