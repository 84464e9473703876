// Package vswitch is a learning Ethernet switch.
//
// (The folder is called switch; the package cannot be, because switch is a Go
// keyword.)
//
// The package decides where a frame goes and edits it where the destination
// needs that: it knows ports, MAC addresses, VLANs, policies, checksums and
// segmentation. It knows nothing of virtio, sockets, files or threads. Who
// calls it: a port's driver (vhostuser/netport for a guest, uplink for a host
// NIC) attaches a [Port], receives frames from outside and hands them in with
// [Inlet.Deliver]; the switch answers, inside that very call, with
// [Port.Transmit] on every port that the frames go to.
//
// # A frame's life
//
// Frames are borrowed, never owned. A [Frame] is valid from the moment its
// source calls Deliver until Deliver returns; a destination copies what it
// wants to have afterwards. That makes one payload copy enough (straight from
// the sender's memory into the receiver's buffers) and leaves nothing to
// release, to count references of or to leak.
//
// # Trust
//
// Frame.Head is memory that no guest can write. Every decision is made on
// Head and on Offload alone; Frame.Body may change under our hands at any
// time and is only ever copied or summed up.
package vswitch
