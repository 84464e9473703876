package vswitch

import "encoding/binary"

// Stage classify: drops frames that must not be forwarded, and finds the VLAN of each other frame.

// A beginning is the first 14 bytes of a frame, up to the type of the frame or of its tag, in two
// words that overlap by two bytes.
type beginning [2]uint64

// beginNone is not the beginning of any frame: the overlapping bytes differ.
var beginNone = beginning{0, ^uint64(0)}

// classify drops frames that must not be forwarded, finds the VLAN of each other frame, and
// prepares their look-ups. Consecutive frames often have the same addresses. The results for the
// first of them apply to the others as well, unless they have tags.
func (in *Inlet) classify(frames []Frame) {
	b := &in.batch
	b.touched, b.offloads, b.customers = 0, false, false
	lastSrc, lastDst := noKey, noKey
	var srcHash, dstHash hash
	untagged, carried := b.src.vlan.untagged()
	var r *run
	same := beginNone // the beginning of the frames of r, if further frames may join r
	bytes, longest := 0, 0
	for i := range frames {
		f := &frames[i]
		bytes += f.Len
		longest = max(longest, f.Len)
		if len(f.Head) < MinFrameLen {
			in.drop(stageClassify, DropTooShort, b.src, 1<<i)
			continue
		}
		begin := beginning{binary.BigEndian.Uint64(f.Head), binary.BigEndian.Uint64(f.Head[6:])}
		if begin == same && f.Len <= MaxFrameLen {
			if !f.Offload.isZero() {
				b.offloads = true
				if !checkOffload(f) {
					in.drop(stageClassify, DropBadOffload, b.src, 1<<i)
					continue
				}
			}
			f.verdict = untagged
			r.frames |= 1 << i
			continue
		}
		dst, src, etype := addr(begin[0]>>16), addr(begin[1]>>16), uint16(begin[1])
		b.offloads = b.offloads || !f.Offload.isZero()
		if why, ok := b.src.fit(f, dst, src); !ok {
			in.drop(stageClassify, why, b.src, 1<<i)
			continue
		}
		vlan := untagged.vlan()
		if isTag(etype) {
			same = beginNone
			if why, ok := b.inVLAN(f, etype); !ok {
				in.drop(stageClassify, why, b.src, 1<<i)
				continue
			}
			vlan = f.verdict.vlan()
		} else if !carried {
			same = beginNone
			in.drop(stageClassify, DropVLAN, b.src, 1<<i)
			continue
		} else {
			same = begin
			f.verdict = untagged
		}
		if k := makeKey(src, vlan); k != lastSrc {
			lastSrc, srcHash = k, in.hash(k)
		}
		if k := makeKey(dst, vlan); k != lastDst && dst&addrGroup == 0 {
			lastDst, dstHash = k, in.hash(k)
		}
		r = &b.runs[b.nruns]
		b.nruns++
		r.frames, r.first, r.dst = 1<<i, i, dst
		r.srcKey, r.srcHash, r.dstHash = lastSrc, srcHash, dstHash
	}
	b.longest = longest
	b.src.counters.RxFrames.Add(uint64(len(frames)))
	b.src.counters.RxBytes.Add(uint64(bytes))
}

// hash returns the hash of k, and fetches the bucket that look-ups of k will read.
func (in *Inlet) hash(k fdbKey) hash {
	t := in.sw.fdb
	h := t.perm.hash(k)
	in.batch.touched += t.touch(h)
	return h
}

// inVLAN finds the VLAN of a frame with a tag of type etype, and reports whether the source port
// carries that VLAN.
func (b *batch) inVLAN(f *Frame, etype uint16) (DropReason, bool) {
	ok, short := b.src.vlan.classify(f, etype)
	b.customers = b.customers || f.verdict.cvlan() != 0
	if short {
		return DropTooShort, false
	}
	return DropVLAN, ok
}

// fit reports whether a frame may be forwarded at all, as far as that can be decided without a
// look-up.
func (v *portView) fit(f *Frame, dst, src addr) (DropReason, bool) {
	switch {
	case f.Len > MaxFrameLen:
		return DropTooLong, false
	case dst&addrGroup != 0 && !v.relays(dst):
		return DropReserved, false
	case src&addrGroup != 0 || src == 0:
		return DropBadSource, false
	case !f.Offload.isZero() && !checkOffload(f):
		return DropBadOffload, false
	}
	return 0, true
}

// relays reports whether frames from the port to a group address may be relayed. BPDUs of PVST+ are
// treated as the other BPDUs of bridges.
func (v *portView) relays(group addr) bool {
	switch {
	case group&addrReservedMask == addrReserved:
		return v.passed>>(group&^addrReservedMask)&1 != 0
	case group == addrPVST:
		return v.passed&1 != 0
	}
	return true
}
