package vswitch

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzFilterKey reads the fields of any frame, and requires that they do not depend on what is
// behind Head, nor on what is behind the place of a checksum that is to be filled in.
func FuzzFilterKey(f *testing.F) {
	r := rand.New(rand.NewPCG(8, 9))
	for range 200 {
		f.Add(randomGuarded(r), uint16(r.IntN(2)*r.IntN(100)))
	}
	f.Fuzz(func(t *testing.T, data []byte, sum uint16) {
		if len(data) < MinFrameLen || len(data) > MaxFrameLen {
			return
		}
		if sum != 0 && sum < MinFrameLen { // checkOffload accepts none within the Ethernet header
			return
		}
		read := func(filling byte) (k filterKey) {
			n := min(len(data), HeadLen)
			room := bytes.Repeat([]byte{filling}, 2*HeadMax)
			copy(room[Headroom:], data[:n])
			frame := Frame{Room: room, Head: room[Headroom : Headroom+n], Len: len(data)}
			frame.verdict = verdict{tag: makeTag(tpidDot1Q, 3<<pcpShift|5)}
			if sum != 0 {
				frame.Offload = Offload{Flags: HdrNeedsCsum, CsumStart: sum}
				for i := Headroom + int(sum); i < len(room); i++ {
					room[i] = filling
				}
			}
			k.read(&frame)
			for i := range k.values { // those of fields that are not there mean nothing
				if k.has>>i&1 == 0 || k.v6 && fieldsAddress>>i&1 != 0 {
					k.values[i] = 0
				}
			}
			if !k.v6 {
				k.src, k.dst = ipv6{}, ipv6{}
			}
			return k
		}
		a, b := read(0), read(0xff)
		if a != b {
			t.Errorf("with what is behind 0: %+v; 0xff: %+v", a, b)
		}
		if a.has&a.unread != 0 {
			t.Errorf("fields %b are read and cannot be read", a.has&a.unread)
		}
	})
}
