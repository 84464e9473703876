package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// Frames that the switch itself makes and sends in a Deliver, or as if in one: replies on behalf of
// other stations, and probes.

// ownRoom is the space for such a frame: Headroom, the headers of Ethernet with a tag and of IPv6,
// and a neighbor advertisement. A frame of the least length on a wire fits, too.
const ownRoom = Headroom + MinFrameLen + vlanTagLen + ipv6Len + advertLen

// ownFrames is the memory for frames that go to one port together.
type ownFrames struct {
	frames [MaxBatch]Frame
	rooms  [MaxBatch][ownRoom]byte
	out    [MaxBatch]*Frame
	n      int
}

// ownFrames returns the inlet's memory for frames of the switch itself.
func (in *Inlet) ownFrames() *ownFrames {
	if in.own == nil {
		in.own = new(ownFrames)
	}
	return in.own
}

// begin makes a frame with the tag that v says the frame has now. It returns the part behind the
// headers, of length n. The bytes there are zero.
func (w *ownFrames) begin(v verdict, to, from addr, etype uint16, n int) []byte {
	room := &w.rooms[w.n]
	f := &w.frames[w.n]
	w.n++
	*room = [ownRoom]byte{}
	b := room[Headroom:]
	dst, src := to.mac(), from.mac()
	copy(b, dst[:])
	copy(b[6:], src[:])
	at := macsLen
	if v.now != noTag {
		binary.BigEndian.PutUint32(b[at:], uint32(v.now))
		at += vlanTagLen
	}
	binary.BigEndian.PutUint16(b[at:], etype)
	at += 2
	*f = Frame{Head: b[: at+n : at+n], Room: room[:], Len: at + n, verdict: v}
	f.verdict.off = Headroom
	return f.Head[at:]
}

// sendOwn sends a set of the frames that have been begun to port v, with the tags that the port
// wants and within its rate, and forgets the others. It returns the frames that are within the
// rate, and those of them that are lost: the port has not accepted them, or not wholly. Neither the
// filter nor the mirrors and taps of the port see the frames.
func (in *Inlet) sendOwn(at stage, v *portView, group uint64) (sent, lost uint64) {
	w := in.own
	w.n = 0
	out := w.out[:0]
	for m := group; m != 0; m &= m - 1 {
		f := &w.frames[bits.TrailingZeros64(m)]
		v.vlan.shape(f)
		out = append(out, f)
	}
	if v.egress != nil {
		if k := in.affordable(v.egress, out); k < len(out) {
			in.record(drop{at: at, why: DropEgressRate, port: v, n: len(out) - k})
			group, out = pick(group, 1<<k-1), out[:k]
		}
	}
	for _, l := range in.repair.transmit(v.port, out) {
		lost |= pick(group, l.nths)
		in.record(drop{at: l.at, why: l.why, port: v, n: l.n})
	}
	return group, lost
}
