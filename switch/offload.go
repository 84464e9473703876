package vswitch

import "encoding/binary"

// Offload is the work on a frame that its sender has left to a later device. Fields and values are
// those of struct virtio_net_hdr (virtio 1.2, section 5.1.6), in the host's byte order; offsets are
// from the first byte of Frame.Head.
type Offload struct {
	Flags      uint8  // HdrNeedsCsum, HdrDataValid
	GSOType    uint8  // GSONone and so on; TCP types perhaps with GSOECN
	HdrLen     uint16 // a hint: length of all headers of a GSO frame
	GSOSize    uint16 // payload bytes in each segment of a GSO frame
	CsumStart  uint16 // the checksum covers the frame from here to the end
	CsumOffset uint16 // offset of the checksum field from CsumStart
}

// isZero reports whether all fields are 0: there is nothing to do.
func (o *Offload) isZero() bool {
	h := o.Header()
	return binary.LittleEndian.Uint64(h[:8])|uint64(binary.LittleEndian.Uint16(h[8:])) == 0
}

// Values of Offload.Flags.
const (
	HdrNeedsCsum = 1 // CsumStart and CsumOffset are valid, the field holds the pseudo-header's sum
	HdrDataValid = 2 // the checksum has been verified to be right
)

// Values of Offload.GSOType.
const (
	GSONone  = 0
	GSOTCPv4 = 1
	GSOUDP   = 3 // UFO: fragment a UDP datagram
	GSOTCPv6 = 4
	GSOUDPL4 = 5    // USO: cut into UDP datagrams
	GSOECN   = 0x80 // or'ed to a TCP type: CWR is set
)

// Caps are the offloads that a port accepts. The switch does what else a frame needs in software
// before it calls Transmit.
type Caps struct {
	Csum  bool // accepts frames with HdrNeedsCsum
	TSO4  bool // accepts GSOTCPv4
	TSO6  bool // accepts GSOTCPv6
	ECN   bool // accepts GSOECN with the TCP types that it accepts
	UFO   bool // accepts GSOUDP
	USO4  bool // accepts GSOUDPL4 over IPv4
	USO6  bool // accepts GSOUDPL4 over IPv6
	MTU   int  // bytes behind Ethernet header and tags of the longest non-GSO frame; 0: no limit
	MaxGS int  // the most bytes of a whole GSO frame; 0: MaxFrameLen
}
