package station

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
)

// A MAC is an Ethernet address.
type MAC [6]byte

// Broadcast is everybody's.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Addr returns the n-th address for tests.
func Addr(n byte) MAC { return MAC{0x52, 0x54, 0, 0, 0, n} }

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// EtherTypes for experiments (IEEE 802, local use).
const (
	etherType      = 0x88b5
	EtherTypeNoise = 0x88b6 // a frame that stations take and do not look at
)

// probes is the destination of the probes by which the switch finds loops. A station drops them.
var probes = MAC{0x03, 0x76, 0x73, 0x70, 0x6c, 0x70}

// A frame, big-endian:
//
//	0  destination, source, EtherType     14 bytes
//	14 origin, target                      6 bytes each: who asks whom; see everybody for broadcasts
//	26 run                                 4: tells stations with one address apart
//	30 number                              8: of the request in its flow, from 0
//	38 length                              2: of the frame
//	40 CRC-32 of everything from 14 but itself
//	44 noise
const (
	headerLen = 44
	maxLen    = 1514 // unless Config.Lengths has more
)

// MinLength is that of the shortest request.
const MinLength = headerLen

// lengths are those of requests, in turn, if nothing else is asked for.
var lengths = []int{60, 1514, 64, 65, 590, 128, 1024, 143}

// A flow is named by who asks whom, and in which of its lives.
type flowName struct {
	origin, target MAC
	run            uint32
}

// everybody is the target of a broadcast request: 0xff, then the last bytes of the addresses of
// those that are to answer it. Who is not asked does not answer: whoever asks waits for the answers
// that are due, and other stations' answers could overrun the ring of a station that is slower.
func everybody(answerers []MAC) (target MAC) {
	target[0] = 0xff
	for i, a := range answerers {
		target[1+i] = a[5]
	}
	return target
}

// isBroadcast reports whether everybody gets the flow's requests.
func (f flowName) isBroadcast() bool { return f.target[0] == 0xff }

// asks reports whether a station is to answer the flow's requests.
func (f flowName) asks(m MAC) bool { return !f.isBroadcast() || slices.Contains(f.target[1:], m[5]) }

func (f flowName) String() string { return fmt.Sprintf("%s to %s, run %#x", f.origin, f.target, f.run) }

// appendRequest appends request number n of a flow, size bytes long.
func appendRequest(b []byte, f flowName, n uint64, size int) []byte {
	start := len(b)
	to := f.target
	if f.isBroadcast() {
		to = Broadcast
	}
	b = append(b, to[:]...)
	b = append(b, f.origin[:]...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	b = append(b, f.origin[:]...)
	b = append(b, f.target[:]...)
	b = binary.BigEndian.AppendUint32(b, f.run)
	b = binary.BigEndian.AppendUint64(b, n)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, 0, 0, 0, 0)
	for x := n*0x9e3779b97f4a7c15 | 1; len(b)-start < size; x ^= x << 17 {
		x ^= x << 13
		x ^= x >> 7
		b = append(b, byte(x>>32))
	}
	frame := b[start:]
	binary.BigEndian.PutUint32(frame[40:], checksum(frame))
	return b
}

func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(frame[14:40]), crc32.IEEETable, frame[headerLen:])
}

// parse takes a frame apart, and fails if it is not as it was sent.
func parse(frame []byte) (dst, src MAC, f flowName, n uint64, err error) {
	if len(frame) < headerLen {
		return dst, src, f, 0, fmt.Errorf("frame of %d bytes: %x", len(frame), frame)
	}
	dst, src = MAC(frame[0:6]), MAC(frame[6:12])
	if t := binary.BigEndian.Uint16(frame[12:]); t != etherType {
		return dst, src, f, 0, fmt.Errorf("frame from %s to %s of a foreign EtherType %#x", src, dst, t)
	}
	f = flowName{origin: MAC(frame[14:20]), target: MAC(frame[20:26]), run: binary.BigEndian.Uint32(frame[26:])}
	n = binary.BigEndian.Uint64(frame[30:])
	if size := int(binary.BigEndian.Uint16(frame[38:])); size != len(frame) {
		err = fmt.Errorf("frame from %s to %s (%s, number %d) has %d bytes, it had %d", src, dst, f, n, len(frame), size)
	} else if sum := binary.BigEndian.Uint32(frame[40:]); sum != checksum(frame) {
		err = fmt.Errorf("frame from %s to %s (%s, number %d) was altered", src, dst, f, n)
	}
	return dst, src, f, n, err
}
