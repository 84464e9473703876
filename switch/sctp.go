package vswitch

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial of SCTP's checksum (RFC 9260, appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// asksForCRC reports whether the checksum field that f asks to be filled in is that of an SCTP packet, be it
// in an encapsulation or not.
func asksForCRC(f *Frame) bool {
	s := search{head: f.Head, len: f.Len, proto: protoSCTP, l4: int(f.Offload.CsumStart)}
	return s.l4 != 0 && s.run()
}

// completeSCTP fills in the checksum of an SCTP packet whose header begins at f.Offload.CsumStart,
// and takes the request away. It returns false if the header goes on behind Head.
//
// Linux asks for this checksum with the same flag and fields as for an Internet checksum, of a
// device that has said that it knows SCTP (NETIF_F_SCTP_CRC, which veth has). The request does not
// say that a CRC is meant, and no driver of a guest expects to find one: so the packet goes to
// every port complete, as the Linux bridge hands it to a TAP device.
//
// The packet is summed up as it is while this runs. What its sender changes in Body afterwards
// arrives with a wrong checksum.
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
	// The CRC's bits are numbered from the other end (RFC 9260, appendix A): this is the byte order
	// in which it is sent.
	binary.LittleEndian.PutUint32(field, crc)
	f.Offload = Offload{}
	return true
}
