package vswitch

import "encoding/binary"

// Stage classify: drops frames that must not be forwarded, and finds the VLAN of each other frame.

// A beginning is the first 14 bytes of a frame, up to the type of the frame or of its tag, in two
// words that overlap by two bytes.
type beginning [2]uint64

// beginNone is not the beginning of any frame: the overlapping bytes differ.
var beginNone = beginning{0, ^uint64(0)}

// beginningOf returns the beginning of a frame with at least MinFrameLen bytes of head.
func beginningOf(head []byte) beginning {
	return beginning{binary.BigEndian.Uint64(head), binary.BigEndian.Uint64(head[6:])}
}

func (b *beginning) dst() addr     { return addr(b[0] >> 16) }
func (b *beginning) src() addr     { return addr(b[1] >> 16) }
func (b *beginning) etype() uint16 { return uint16(b[1]) }

// classify drops frames that must not be forwarded, finds the VLAN of each other frame, and
// prepares their look-ups. Consecutive frames often have the same addresses. The results for the
// first of them apply to the others as well, unless they have tags. Frames that are remembered need
// no look-up.
func (in *Inlet) classify(frames []Frame) {
	b := &in.batch
	b.offloads, b.customers = false, false
	b.bare, b.carried = b.src.vlan.untagged()
	b.hashed = hashedKeys{src: noKey, dst: noKey}
	in.memo.recall(b.recalls, frames, &b.recalled)
	bare := b.bare
	var joined *uint64 // the set that a frame joins if it begins like the last one; nil: none
	bytes, longest := 0, 0
	for i := range frames {
		f := &frames[i]
		bytes += f.Len
		longest = max(longest, f.Len)
		switch id := b.recalled[i&(MaxBatch-1)]; {
		case id == sameAgain && joined != nil:
		case id != sameAgain && id != 0:
			joined = b.groupFor(id)
		default:
			joined = in.begin(f, i)
			continue
		}
		if !f.Offload.isZero() {
			b.offloads = true
			if !checkOffload(f) {
				in.drop(stageClassify, DropBadOffload, b.src, 1<<i)
				continue
			}
		}
		f.verdict = bare
		*joined |= 1 << i
	}
	in.fetch()
	b.longest = longest
	b.src.counters.RxFrames.Add(uint64(len(frames)))
	b.src.counters.RxBytes.Add(uint64(bytes))
}

// begin begins a run with the i-th frame of the batch. It returns the run's set of frames if the
// next frame joins that in case it begins the same.
func (in *Inlet) begin(f *Frame, i int) (joined *uint64) {
	b := &in.batch
	if len(f.Head) < MinFrameLen {
		in.drop(stageClassify, DropTooShort, b.src, 1<<i)
		return nil
	}
	begin := beginningOf(f.Head)
	dst, src := begin.dst(), begin.src()
	tagged := isTag(begin.etype())
	b.offloads = b.offloads || !f.Offload.isZero()
	why, ok := b.src.fit(f, dst, src)
	switch {
	case !ok:
	case tagged:
		why, ok = b.inVLAN(f, begin.etype())
	default:
		why, ok = DropVLAN, b.carried
		f.verdict = b.bare
		b.untagged |= 1 << i
	}
	if !ok {
		in.drop(stageClassify, why, b.src, 1<<i)
		return nil
	}
	t, h, vlan := in.sw.fdb, &b.hashed, f.verdict.vlan()
	if k := makeKey(src, vlan); k != h.src {
		h.src, h.srcHash = k, t.perm.hash(k)
	}
	if k := makeKey(dst, vlan); k != h.dst && dst&addrGroup == 0 {
		h.dst, h.dstHash = k, t.perm.hash(k)
	}
	r := &b.runs[b.nruns]
	b.nruns++
	r.frames, r.first, r.dst = 1<<i, i, dst
	r.srcKey, r.srcHash, r.dstHash = h.src, h.srcHash, h.dstHash
	if tagged {
		return nil
	}
	return &r.frames
}

// fetch fetches the buckets that look-ups of the batch will read. The loop does nothing else, so
// that the processor gets to many buckets before the first has come.
func (in *Inlet) fetch() {
	b, t := &in.batch, in.sw.fdb
	touched := uint64(0)
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		touched += t.touch(r.srcHash) + t.touch(r.dstHash)
	}
	b.touched = touched
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
