package load

import (
	"encoding/binary"
	"testing"
)

// The frames that are cut from a train are the line's frames except for what the kernel fills in.
func TestTrain(t *testing.T) {
	for _, size := range []int{MinSize, 64, 1500} {
		m := newMaker(UDP, size, 1)
		m.cut = true
		want := tagOf(farEnd, 77)
		const frames = 5
		b := m.train(want, frames)
		h, f := b[:vnetHdrLen], b[vnetHdrLen:]
		each := int(binary.LittleEndian.Uint16(h[4:]))
		if len(f) != udpData+frames*each || binary.BigEndian.Uint16(f[16:]) != uint16(len(f)-14) || ^fold(sum(f[14:34])) != 0 {
			t.Fatalf("%d bytes, %d each, IP header % x", len(f), each, f[14:34])
		}
		for i := range frames {
			cut := make([]byte, headerLen, headerLen+size)
			cut[vnetHdrLen] = 1 // num_buffers
			cut = append(cut, f[:udpData]...)
			cut = append(cut, f[udpData+i*each:][:each]...)
			binary.BigEndian.PutUint16(cut[headerLen+16:], uint16(size-14))
			binary.BigEndian.PutUint16(cut[headerLen+38:], uint16(size-34))
			if got, err := m.parse(cut); err != nil || got != want {
				t.Errorf("frame %d of %d bytes: %v, %v", i, size, got, err)
			}
			m.cut = false
			if _, err := m.parse(cut); err == nil {
				t.Error("what the kernel fills in is not compared where it has nothing to do")
			}
			m.cut = true
		}
	}
}
