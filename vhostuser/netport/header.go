package netport

import (
	"encoding/binary"

	vswitch "vswitchd/switch"
	"vswitchd/virtqueue"
)

// Feature bits of a network device (virtio 1.2, section 5.1.3), and those of rings that matter
// here.
const (
	featureCsum              = 0  // the device completes checksums of frames from the guest
	featureGuestCsum         = 1  // the driver takes frames with partial checksums
	featureCtrlGuestOffloads = 2  // the driver turns GUEST_ features off and on by commands
	featureMTU               = 3  // the configuration space has the MTU
	featureMAC               = 5  // ... and the address
	featureGuestTSO4         = 7  // the driver takes TSOv4 ...
	featureGuestTSO6         = 8  // ... and TSOv6 ...
	featureGuestECN          = 9  // ... with ECN ...
	featureGuestUFO          = 10 // ... and UFO
	featureHostTSO4          = 11 // the device takes TSOv4 ...
	featureHostTSO6          = 12 // ... and TSOv6 ...
	featureHostECN           = 13 // ... with ECN ...
	featureHostUFO           = 14 // ... and UFO
	featureMrgRxbuf          = 15 // a frame may fill several receive buffers
	featureStatus            = 16 // the configuration space has the status of the link
	featureCtrlVQ            = 17 // there is a control queue, by which the driver can set
	featureCtrlRX            = 18 // ... which frames it receives
	featureCtrlVLAN          = 19 // ... of which VLANs
	featureCtrlRXExtra       = 20 // ... in more detail
	featureMQ                = 22 // there are several queue pairs
	featureCtrlMACAddr       = 23 // the driver can set its address by a command
	featureAnyLayout         = 27 // legacy drivers: header and data may share descriptors
	featureGuestUSO4         = 54
	featureGuestUSO6         = 55
	featureHostUSO           = 56
	featureVersion1          = 32
)

// Sizes of struct virtio_net_hdr (5.1.6): num_buffers is there "only" with MRG_RXBUF or in the
// non-legacy interface.
const (
	headerLen       = 12
	legacyHeaderLen = vswitch.HdrLen
)

func headerLenFor(features uint64) int {
	if features&(1<<featureMrgRxbuf|1<<featureVersion1|1<<virtqueue.FeatureRingPacked) != 0 {
		return headerLen
	}
	return legacyHeaderLen
}

// offloadMask returns a mask for the first 8 bytes of a header from a driver. Of the flags, a
// driver may set only NEEDS_CSUM: DATA_VALID would make receivers trust a checksum that has not
// been verified. "If the VIRTIO_NET_F_CSUM feature is not negotiated, the driver MUST set flags to
// zero and SHOULD supply a fully checksummed packet" (5.1.6.2.1). Some drivers leave arbitrary
// memory contents there, so fields of features that are not negotiated are ignored.
func offloadMask(features uint64) uint64 {
	if features&(1<<featureCsum) == 0 {
		return 0
	}
	return ^uint64(0xff) | vswitch.HdrNeedsCsum
}

// decodeOffload decodes a header, which may be in guest memory: each byte of it is loaded once.
// Bits that are not in mask are ignored.
//
// It writes to o directly: copying an Offload that has just been assembled would stall until the
// stores have reached the cache.
func decodeOffload(o *vswitch.Offload, b []byte, mask uint64) {
	h, to := (*[legacyHeaderLen]byte)(b), o.Header()
	lo, hi := binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint16(h[8:])
	binary.LittleEndian.PutUint64(to[:], lo&mask)
	binary.LittleEndian.PutUint16(to[8:], hi&uint16(mask>>48))
}

// encodeHeader writes a header of n bytes, one of the two lengths, to b. num_buffers is 1 "even if"
// there is only one buffer (5.1.6.4.1); a legacy header does not have it.
func encodeHeader(b []byte, n int, o *vswitch.Offload, buffers int) {
	h, from := (*[legacyHeaderLen]byte)(b), o.Header()
	binary.LittleEndian.PutUint64(h[:], binary.LittleEndian.Uint64(from[:]))
	binary.LittleEndian.PutUint16(h[8:], binary.LittleEndian.Uint16(from[8:]))
	if n == headerLen {
		binary.LittleEndian.PutUint16(b[legacyHeaderLen:], uint16(buffers))
	}
}

// capsFor returns what a driver that negotiated features can receive unchanged.
func capsFor(features uint64) vswitch.Caps {
	has := func(bit int) bool { return features&(1<<bit) != 0 }
	return vswitch.Caps{
		Csum: has(featureGuestCsum),
		TSO4: has(featureGuestTSO4),
		TSO6: has(featureGuestTSO6),
		ECN:  has(featureGuestECN),
		UFO:  has(featureGuestUFO),
		USO4: has(featureGuestUSO4),
		USO6: has(featureGuestUSO6),
	}
}
