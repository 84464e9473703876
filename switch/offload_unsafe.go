package vswitch

import "unsafe"

// HdrLen is the length of the virtio-net header that an Offload is, in bytes: struct
// virtio_net_hdr without num_buffers.
const HdrLen = 10

// Header returns o as the header that it is on the wire, to be read or written: fields of
// an Offload are in the order that they have there, and without gaps. Headers are
// little-endian, and so are the machines that this runs on. Ten bytes move in two
// steps this way, instead of six fields one by one.
//
// The array is o's memory, all of it, and nothing else's: its size is that of an Offload,
// or this does not compile.
func (o *Offload) Header() *[HdrLen]byte {
	const _ = -(unsafe.Sizeof(Offload{}) ^ HdrLen)
	return (*[HdrLen]byte)(unsafe.Pointer(o))
}
