package vswitch

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// sctpPacket makes an SCTP packet with one chunk of data, without a checksum.
func sctpPacket(s packetShape, data int) *testPacket {
	rnd := newTestRand(50)
	p := hostileBase(s)
	be := binary.BigEndian
	chunk := []byte{0, 3, 0, 0} // DATA, not fragmented, of an even number of bytes
	be.PutUint16(chunk[2:], uint16(16+data))
	p.data = append(p.data[:p.l4:p.l4], 0x27, 0x10, 0x27, 0x11, 1, 2, 3, 4, 0xee, 0xee, 0xee, 0xee)
	p.data = append(append(p.data, chunk...), randomBytes(rnd, 12+data)...)
	if p.v6 {
		p.data[p.next] = protoSCTP
		be.PutUint16(p.data[p.l3+4:], uint16(len(p.data)-p.l4))
	} else {
		p.data[p.l3+9] = protoSCTP
		be.PutUint16(p.data[p.l3+2:], uint16(len(p.data)-p.l3))
	}
	p.offload = Offload{Flags: HdrNeedsCsum, CsumStart: uint16(p.l4), CsumOffset: sctpCsum}
	return p
}

// An SCTP packet gets a CRC32c, not a 16-bit sum, whether or not the port accepts frames without
// checksums.
func TestSCTPChecksum(t *testing.T) {
	for _, s := range []packetShape{csum4, csum6, {kind: kindTCPCsum, tags: 2}} {
		for _, caps := range []Caps{{}, {Csum: true}} {
			for _, data := range []int{4, 80, 1400, 8000} {
				p := sctpPacket(s, data)
				f := newTestFrame(newTestRand(uint64(data)), p.data, p.offload, p.l4+sctpLen)
				if !checkOffload(f) {
					t.Fatalf("refused: %+v", p.offload)
				}
				port := &repairPort{caps: caps}
				new(repairer).transmit(port, []*Frame{f})
				if len(port.frames) != 1 || port.offloads[0] != (Offload{}) {
					t.Fatalf("%d frames, %+v", len(port.frames), port.offloads)
				}
				verifySCTP(t, port.frames[0][p.l4:])
			}
		}
	}
}

// verifySCTP verifies the checksum of an SCTP packet with another implementation.
func verifySCTP(t *testing.T, packet []byte) {
	t.Helper()
	var sctp layers.SCTP
	if err := sctp.DecodeFromBytes(packet, gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	payload := gopacket.Payload(packet[sctpLen:])
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, &sctp, payload); err != nil {
		t.Fatal(err)
	}
	got, want := packet[sctpCsum:sctpLen], b.Bytes()[sctpCsum:sctpLen]
	if !bytes.Equal(got, want) {
		t.Errorf("SCTP checksum %x, want %x", got, want)
	}
}
