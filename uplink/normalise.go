package uplink

import (
	vswitch "vswitchd/switch"
)

// What the kernel hands to a packet socket is not always what a guest's driver may send, though
// both use a virtio_net_hdr. This stage translates the first into the second; the switch checks
// what passes like a guest's frame.
//
//   - A GSO frame may come without VIRTIO_NET_HDR_F_NEEDS_CSUM: from large receive offload, from
//     GRO that keeps a list of segments (rx-gro-list), from a TAP device whose user has not set it.
//     A driver "MUST also set" the flag (virtio 1.2, section 5.1.6.2.1). It is set, and the
//     checksum field filled accordingly: vswitch.RequestChecksum.
//   - A checksum field may lie anywhere, behind a long chain of encapsulations for instance. Head
//     reaches as far as that: it costs nothing here, where the whole frame lies in one piece.
//   - csum_start may lie behind an encapsulation, in a GSO frame too; and csum_offset may be
//     SCTP's, and mean a CRC. The switch knows both (package vswitch, encap.go and sctp.go).
//   - hdr_len is the length of some buffer. The switch computes its own.
//
// What is not possible: for GSO frames of SCTP and of UFO there is no virtio_net_hdr. The kernel
// drops them at the packet socket, and counts them among Status.KernelDrops.

// headLen returns how much of a frame of n bytes is its Head, and false if the frame does not have
// the checksum field that o names.
func headLen(o *vswitch.Offload, n int) (int, bool) {
	head := min(n, vswitch.HeadMax)
	if o.Flags&vswitch.HdrNeedsCsum == 0 {
		return head, true
	}
	need := int(o.CsumStart) + int(o.CsumOffset) + 2
	return max(head, need), need <= n
}

// normalise turns f's request into a request that a guest's driver might have made. It returns
// false if there is no such request.
func normalise(f *vswitch.Frame) bool {
	o := &f.Offload
	if o.GSOType != vswitch.GSONone && o.Flags&vswitch.HdrNeedsCsum == 0 {
		return vswitch.RequestChecksum(f)
	}
	return true
}
