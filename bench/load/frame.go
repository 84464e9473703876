package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Shape is what one frame looks like.
type Shape int

// The shapes.
const (
	UDP       Shape = iota // a UDP datagram to one station
	GSO                    // a TCP segment of up to 64 KiB, to be cut by whoever has to
	Broadcast              // UDP to everybody
)

// A frame is Ethernet, IPv4 and UDP or TCP; then, big-endian:
//
//	0  magic     4 bytes
//	4  from, to  1 each: the ports' numbers
//	6  flow      4
//	10 number    8: of the frame in its flow, from 1; 0: frames are not numbered
//	18 pattern, which depends on the sender
const (
	magic     = 0x76737764
	tagLen    = 18
	udpData   = 14 + 20 + 8
	tcpData   = 14 + 20 + 20
	mss       = 1448
	csumAtTCP = 14 + 20 + 16
	csumAtUDP = 14 + 20 + 6
	idAtIP    = 14 + 4
	csumAtIP  = 14 + 10
)

// MinSize is the size in bytes of the smallest frame.
const MinSize = udpData + tagLen

// A tag names a frame: which, from whom, to whom.
type tag struct {
	from, to uint8
	flow     uint32
	number   uint64
}

func (t tag) String() string {
	return fmt.Sprintf("frame %d of flow %d from port %d to %d", t.number, t.flow, t.from, t.to)
}

// A maker makes frames and recognizes them.
type maker struct {
	shape   Shape
	size    int  // bytes, without FCS
	macs    int  // addresses of each port
	cut     bool // UDP datagrams are cut from trains by the kernel, which numbers them and completes checksums
	pattern []byte
	want    []byte // scratch
}

// patternPeriod is after how many bytes the pattern starts again.
const patternPeriod = 251

func newMaker(shape Shape, size, macs int) *maker {
	m := &maker{shape: shape, size: size, macs: macs, want: make([]byte, tcpData+tagLen)}
	m.pattern = make([]byte, size+patternPeriod)
	for i := range m.pattern {
		m.pattern[i] = byte(i%patternPeriod) ^ 0x5a
	}
	return m
}

// MAC returns address n, below 2^24, of a port.
func MAC(port uint8, n uint32) [6]byte {
	return [6]byte{0x02, 0x76, port, byte(n >> 16), byte(n >> 8), byte(n)}
}

// data returns where the tag is.
func (m *maker) data() int {
	if m.shape == GSO {
		return tcpData
	}
	return udpData
}

// fill writes the frame of a tag, with its virtio-net header, to a buffer.
func (m *maker) fill(buf []byte, t tag) {
	m.header(buf[:headerLen])
	m.frame(buf[headerLen:][:m.size], t)
}

// frame writes the frame of a tag.
func (m *maker) frame(f []byte, t tag) {
	m.head(f, t)
	copy(f[m.data()+tagLen:], m.tail(t))
}

// tail returns what is in the frame behind the tag.
func (m *maker) tail(t tag) []byte {
	return m.pattern[t.from%patternPeriod:][:m.size-m.data()-tagLen]
}

// header writes struct virtio_net_hdr (5.1.6): all that there is to it are the offloads.
func (m *maker) header(h []byte) {
	clear(h)
	if m.shape != GSO {
		return
	}
	h[0], h[1] = 1, 1                             // NEEDS_CSUM, TCPV4
	binary.LittleEndian.PutUint16(h[2:], tcpData) // hdr_len
	binary.LittleEndian.PutUint16(h[4:], mss)
	binary.LittleEndian.PutUint16(h[6:], 14+20) // csum_start
	binary.LittleEndian.PutUint16(h[8:], 16)    // csum_offset
}

// head writes the protocols' headers and the tag.
func (m *maker) head(f []byte, t tag) {
	dst, src := MAC(t.to, t.flow%uint32(m.macs)), MAC(t.from, t.flow%uint32(m.macs))
	if m.shape == Broadcast {
		dst = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	copy(f, dst[:])
	copy(f[6:], src[:])
	be := binary.BigEndian
	be.PutUint16(f[12:], 0x0800)
	ip, l4 := f[14:34], f[34:]
	clear(ip)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	be.PutUint16(ip[2:], uint16(m.size-14))
	copy(ip[12:], []byte{10, t.from, byte(t.flow >> 8), byte(t.flow)})
	copy(ip[16:], []byte{10, t.to, byte(t.flow >> 8), byte(t.flow)})
	clear(l4[:m.data()-34])
	be.PutUint16(l4, 1024+uint16(t.flow&0x3fff))
	be.PutUint16(l4[2:], 5001)
	if m.shape == GSO {
		ip[9] = 6
		be.PutUint32(l4[4:], 1)
		l4[12], l4[13] = 0x50, 0x10 // five words; ACK
		be.PutUint16(l4[14:], 0xffff)
		be.PutUint16(l4[16:], fold(sum(ip[12:20])+6+uint32(m.size-34))) // pseudo-header
	} else {
		be.PutUint16(l4[4:], uint16(m.size-34))
	}
	be.PutUint16(ip[10:], ^fold(sum(ip)))
	putTag(f[m.data():], t)
}

// train returns n frames of a tag in one, with a virtio-net header that says how it is to be cut
// (UDP_L4).
func (m *maker) train(t tag, n int) []byte {
	each := m.size - udpData
	b := make([]byte, vnetHdrLen+udpData+n*each)
	h, f := b[:vnetHdrLen], b[vnetHdrLen:]
	m.frame(f[:m.size], t)
	for i := range n {
		copy(f[udpData+i*each:], f[udpData:m.size])
	}
	le, be := binary.LittleEndian, binary.BigEndian
	h[0], h[1] = 1, 5 // NEEDS_CSUM, UDP_L4
	le.PutUint16(h[2:], udpData)
	le.PutUint16(h[4:], uint16(each))
	le.PutUint16(h[6:], 14+20) // csum_start
	le.PutUint16(h[8:], 6)     // csum_offset
	ip, udp := f[14:34], f[34:]
	be.PutUint16(ip[2:], uint16(len(f)-14))
	be.PutUint16(ip[10:], 0)
	be.PutUint16(ip[10:], ^fold(sum(ip)))
	be.PutUint16(udp[4:], uint16(len(f)-34))
	be.PutUint16(udp[6:], fold(sum(ip[12:20])+17+uint32(len(f)-34))) // pseudo-header
	return b
}

// restamp makes the frame in a buffer, which fill wrote for the same ports, that of another flow
// and number. It is what a frame costs the generator where frames have to differ.
func (m *maker) restamp(buf []byte, t tag) {
	f := buf[headerLen:]
	be := binary.BigEndian
	host, was := uint16(t.flow), be.Uint16(f[28:])
	mac := t.flow % uint32(m.macs)
	f[9], f[10], f[11] = byte(mac>>16), byte(mac>>8), byte(mac)
	if m.shape != Broadcast {
		f[3], f[4], f[5] = f[9], f[10], f[11]
	}
	if host != was {
		// The header's checksum counts both addresses (RFC 1624).
		c := uint32(^be.Uint16(f[24:])) + 2*uint32(^was) + 2*uint32(host)
		be.PutUint16(f[24:], ^fold(c))
		be.PutUint16(f[28:], host)
		be.PutUint16(f[32:], host)
	}
	be.PutUint16(f[34:], 1024+uint16(t.flow&0x3fff))
	if m.shape == GSO && host != was {
		be.PutUint16(f[csumAtTCP:], fold(uint32(be.Uint16(f[csumAtTCP:]))+2*uint32(^was)+2*uint32(host)))
	}
	putTag(f[m.data():], t)
}

func putTag(b []byte, t tag) {
	binary.BigEndian.PutUint32(b, magic)
	b[4], b[5] = t.from, t.to
	binary.BigEndian.PutUint32(b[6:], t.flow)
	binary.BigEndian.PutUint64(b[10:], t.number)
}

// sum adds up the 16-bit words of b, which are even in number of bytes.
func sum(b []byte) (s uint32) {
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// errForeign says that a frame is none of the generator's.
var errForeign = errors.New("not a frame of the generator's")

// parse returns the tag of a received frame, with its virtio-net header, having compared all of it
// with what was sent.
func (m *maker) parse(buf []byte) (tag, error) {
	if len(buf) < headerLen+m.data()+tagLen {
		return tag{}, errForeign
	}
	f := buf[headerLen:]
	b := f[m.data():]
	if binary.BigEndian.Uint32(b) != magic {
		return tag{}, errForeign
	}
	t := tag{b[4], b[5], binary.BigEndian.Uint32(b[6:]), binary.BigEndian.Uint64(b[10:])}
	if n := binary.LittleEndian.Uint16(buf[10:]); n != 1 {
		return t, fmt.Errorf("%v: in %d buffers instead of one", t, n)
	}
	if len(f) != m.size {
		return t, fmt.Errorf("%v: %d bytes long instead of %d", t, len(f), m.size)
	}
	want := m.want[:m.data()+tagLen]
	m.head(want, t)
	if m.shape == GSO {
		copy(want[csumAtTCP:][:2], f[csumAtTCP:]) // may have been completed
	}
	if m.cut && m.shape == UDP {
		for _, at := range []int{idAtIP, csumAtIP, csumAtUDP} {
			copy(want[at:][:2], f[at:])
		}
	}
	if !bytes.Equal(f[:len(want)], want) || !bytes.Equal(f[len(want):], m.tail(t)) {
		return t, fmt.Errorf("%v: it has changed on its way", t)
	}
	return t, nil
}
