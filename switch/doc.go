// Package vswitch is a learning Ethernet switch.
//
// (The folder is called switch; the package has another name, because switch is a Go keyword.)
//
// The package decides where a frame goes and edits the frame where the destination needs that: it
// deals with ports, MAC addresses, VLANs, policies, checksums and segmentation. It knows nothing of
// virtio, sockets, files or threads. A port's driver (vhostuser/netport for a guest, uplink for a
// host NIC) attaches a [Port], receives frames from outside and passes them to [Inlet.Deliver];
// before Deliver returns, the switch calls [Port.Transmit] of every port that the frames go to.
//
// # A frame's life
//
// Frames are borrowed, never owned. A [Frame] is valid from the moment its source calls Deliver
// until Deliver returns; a destination copies what it needs after that. So one copy of the payload
// is enough (straight from the sender's memory into the receiver's buffers), and there is nothing
// to release, to reference-count or to leak.
//
// # Trust
//
// Frame.Head is memory that no guest can write. Every decision is based on Head and Offload alone;
// the sender may change Frame.Body at any time, and Body is only ever copied or checksummed.
// Multicast snooping learns what the source port has joined from such a copy.
package vswitch
