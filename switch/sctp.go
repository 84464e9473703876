package vswitch

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial of SCTP's checksum (RFC 9260, appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// asksForCRC reports whether f asks for the checksum of an SCTP packet, with or without
// encapsulation.
func asksForCRC(f *Frame) bool {
	s := search{head: f.Head, len: f.Len, proto: protoSCTP, l4: int(f.Offload.CsumStart)}
	return s.l4 != 0 && s.run()
}

// completeSCTP fills in the checksum of an SCTP packet whose header begins at f.Offload.CsumStart,
// and clears the request. It returns false if the header does not end within Head.
//
// Linux requests this checksum with the same flag and fields as an Internet checksum, from a device
// with the feature NETIF_F_SCTP_CRC, which veth has. The request does not say that a CRC is meant,
// and no guest's driver expects a request for a CRC. So every port gets the packet complete, as a
// TAP device does from a Linux bridge.
//
// The checksum is that of the packet while the function runs. If the sender changes Body later, the
// packet arrives with a wrong checksum.
func completeSCTP(f *Frame) bool {
	start := int(f.Offload.CsumStart)
	if start+sctpLen > len(f.Head) {
		return false
	}
	field := f.Head[start+sctpCsum : start+sctpLen]
	clear(field)
	crc := crc32.Update(0, castagnoli, f.Head[start:])
	for _, piece := range f.Body {
		crc = crc32.Update(crc, castagnoli, piece)
	}
	// The bits of the CRC are numbered from the other end (RFC 9260, appendix A), so it is sent in
	// little-endian order.
	binary.LittleEndian.PutUint32(field, crc)
	f.Offload = Offload{}
	return true
}
