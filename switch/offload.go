package vswitch

import "encoding/binary"

// Offload is the work on a frame that its sender left to whoever comes later.
// Fields and values are those of struct virtio_net_hdr (virtio 1.2, section
// 5.1.6), in the host's byte order; offsets count from the first byte of
// Frame.Head.
type Offload struct {
	Flags      uint8  // HdrNeedsCsum, HdrDataValid
	GSOType    uint8  // GSONone and so on, perhaps with GSOECN
	HdrLen     uint16 // a hint: length of all headers of a GSO frame
	GSOSize    uint16 // payload bytes in each segment of a GSO frame
	CsumStart  uint16 // checksum covers the frame from here to its end
	CsumOffset uint16 // checksum field is this far behind CsumStart
}

// isZero reports whether there is nothing to do, and no field says otherwise.
func (o *Offload) isZero() bool {
	h := o.Header()
	return binary.LittleEndian.Uint64(h[:8])|uint64(binary.LittleEndian.Uint16(h[8:])) == 0
}

// Values of Offload.Flags.
const (
	HdrNeedsCsum = 1 // CsumStart and CsumOffset are valid, the checksum field holds the pseudo-header's sum
	HdrDataValid = 2 // the checksum has been verified
)

// Values of Offload.GSOType.
const (
	GSONone  = 0
	GSOTCPv4 = 1
	GSOUDP   = 3 // UFO: fragment an UDP datagram
	GSOTCPv6 = 4
	GSOUDPL4 = 5    // USO: cut into UDP datagrams
	GSOECN   = 0x80 // or'ed to a TCP type: CWR is set
)

// Caps says what a port takes as it is. What a frame needs beyond that the
// switch does in software before it calls Transmit.
type Caps struct {
	Csum  bool // takes frames with HdrNeedsCsum
	TSO4  bool // takes GSOTCPv4
	TSO6  bool // takes GSOTCPv6
	ECN   bool // takes GSOECN with the TCP types it takes
	UFO   bool // takes GSOUDP
	USO4  bool // takes GSOUDPL4 over IPv4
	USO6  bool // takes GSOUDPL4 over IPv6
	MTU   int  // most bytes behind the Ethernet header and tags of a frame that is not GSO; 0: no limit
	MaxGS int  // most bytes of a whole GSO frame; 0: MaxFrameLen
}
