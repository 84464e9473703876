package netport

import (
	"encoding/binary"

	vswitch "vswitchd/switch"
	"vswitchd/virtqueue"
)

// Feature bits of a network device (virtio 1.2, section 5.1.3) and of rings that
// matter here.
const (
	featureCsum              = 0  // the device completes checksums of frames from the guest
	featureGuestCsum         = 1  // the driver takes frames with partial checksums
	featureCtrlGuestOffloads = 2  // the driver turns GUEST_ features off and on by the control queue
	featureMTU               = 3  // the device tells the driver the MTU
	featureMAC               = 5  // ... its address
	featureGuestTSO4         = 7  // the driver takes TSOv4 ...
	featureGuestTSO6         = 8  // ... and TSOv6 ...
	featureGuestECN          = 9  // ... with ECN ...
	featureGuestUFO          = 10 // ... and UFO
	featureHostTSO4          = 11 // the device takes TSOv4 ...
	featureHostTSO6          = 12 // ... and TSOv6 ...
	featureHostECN           = 13 // ... with ECN ...
	featureHostUFO           = 14 // ... and UFO
	featureMrgRxbuf          = 15 // a frame may fill several receive buffers
	featureStatus            = 16 // ... whether there is a link
	featureCtrlVQ            = 17 // there is a control queue; by it the driver sets ...
	featureCtrlRX            = 18 // ... what it receives ...
	featureCtrlVLAN          = 19 // ... of which VLANs ...
	featureCtrlRXExtra       = 20 // ... in more detail ...
	featureMQ                = 22 // several queue pairs
	featureCtrlMACAddr       = 23 // ... and its address
	featureAnyLayout         = 27 // of legacy drivers: header and data may share descriptors
	featureGuestUSO4         = 54
	featureGuestUSO6         = 55
	featureHostUSO           = 56
	featureVersion1          = 32
)

// Sizes of struct virtio_net_hdr (5.1.6): num_buffers is there "only" with
// MRG_RXBUF or in the non-legacy interface.
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

// offloadMask says which bits count of the first 8 bytes of a header from a driver. Of
// the flags, NEEDS_CSUM alone is a driver's to set: DATA_VALID would have others believe
// in a checksum that nobody has looked at. "If the VIRTIO_NET_F_CSUM feature is not
// negotiated, the driver MUST set flags to zero and SHOULD supply a fully checksummed
// packet" (5.1.6.2.1). There are drivers that leave there what was in memory, so
// that nothing counts which they have not said that they would use.
func offloadMask(features uint64) uint64 {
	if features&(1<<featureCsum) == 0 {
		return 0
	}
	return ^uint64(0xff) | vswitch.HdrNeedsCsum
}

// decodeOffload decodes a header, which may be in guest memory: each byte of it is
// loaded once. What mask does not have is ignored.
//
// It goes where it is to be: a copy of an Offload that has just been put together would
// have to wait until it is in the cache.
func decodeOffload(o *vswitch.Offload, b []byte, mask uint64) {
	h, to := (*[legacyHeaderLen]byte)(b), o.Header()
	lo, hi := binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint16(h[8:])
	binary.LittleEndian.PutUint64(to[:], lo&mask)
	binary.LittleEndian.PutUint16(to[8:], hi&uint16(mask>>48))
}

// encodeHeader writes a header of n bytes, one of the two lengths, to b. num_buffers is 1 "even if" there is one buffer only (5.1.6.4.1); a legacy
// header does not have it.
func encodeHeader(b []byte, n int, o *vswitch.Offload, buffers int) {
	h, from := (*[legacyHeaderLen]byte)(b), o.Header()
	binary.LittleEndian.PutUint64(h[:], binary.LittleEndian.Uint64(from[:]))
	binary.LittleEndian.PutUint16(h[8:], binary.LittleEndian.Uint16(from[8:]))
	if n == headerLen {
		binary.LittleEndian.PutUint16(b[legacyHeaderLen:], uint16(buffers))
	}
}

// capsFor returns what a driver that negotiated features takes as it is.
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
