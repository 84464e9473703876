package vswitch

import "unsafe"

// HdrLen is the length of a virtio-net header without num_buffers (struct virtio_net_hdr), in
// bytes.
const HdrLen = 10

// Header returns the memory of o as a virtio-net header, to be read or written: the fields of an
// Offload have the order of the header's fields, without gaps. Headers are little-endian, and so
// are the machines that this package runs on. This way ten bytes are copied in two steps, instead
// of six fields one by one.
//
// The array has the size of an Offload, or the function does not compile.
func (o *Offload) Header() *[HdrLen]byte {
	const _ = -(unsafe.Sizeof(Offload{}) ^ HdrLen)
	return (*[HdrLen]byte)(unsafe.Pointer(o))
}
