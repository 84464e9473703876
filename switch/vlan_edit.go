package vswitch

import "encoding/binary"

// The hot path of VLANs: finding out which VLAN a frame is in, and pushing and popping tags for
// each destination.

// A tag is the four bytes of a VLAN tag: its type (TPID), priority (PCP and DEI) and VLAN.
type tag uint32

// noTag stands for the tag of a frame that has none. A tag has a type.
const noTag = tag(0)

func makeTag(tpid, tci uint16) tag { return tag(tpid)<<16 | tag(tci) }

// in returns t with another VLAN.
func (t tag) in(vlan uint16) tag { return t&^tciVID | tag(vlan) }

// verdict is the result of classifying a frame; valid while the frame is inside Deliver.
//
// A frame has several shapes: bare, without the tag of its VLAN, and with one tag or another before
// what the bare shape has. The switch changes a frame from one shape to another in place, by moving
// the two addresses by the length of a tag, as destinations need it.
type verdict struct {
	tag   tag    // the frame's VLAN and priority
	now   tag    // what the frame has now before the bare shape, or noTag
	inner uint16 // innerTag and the VLAN of the tag that the bare shape begins with; 0: it has none
	off   uint8  // the present offset of Head in Room

	refusal uint8 // 1 + the reason for which a port has refused the frame; 0: none, see Refuse
}

// innerTag in verdict.inner distinguishes a tag of VLAN 0 from none.
const innerTag = 1 << 15

// vlan returns the frame's VLAN.
func (v *verdict) vlan() uint16 { return uint16(v.tag & tciVID) }

// cvlan returns the customer's VLAN: that of the tag that the bare shape begins with, 0 if it has
// none.
func (v *verdict) cvlan() uint16 { return v.inner & tciVID }

// came reports whether the frame came with the tag of its VLAN, or with a priority tag.
func (v *verdict) came() bool {
	if v.now != noTag {
		return v.off == Headroom
	}
	return v.off > Headroom
}

func isTag(etype uint16) bool { return etype == tpidDot1Q || etype == tpidDot1AD }

// untagged returns the verdict for frames without a tag from a port with rule r, which is the same
// for all of them. ok is false if the port does not carry their VLAN.
func (r *vlanRule) untagged() (v verdict, ok bool) {
	v = verdict{off: Headroom, tag: r.outer}
	return v, r.carries(r.pvid) && r.carriesCustomer(0)
}

// classify is untagged for a frame with a tag of type etype. It sets f.verdict. short is true if
// the frame ends within its tag.
func (r *vlanRule) classify(f *Frame, etype uint16) (ok, short bool) {
	if len(f.Head) < MinFrameLen+vlanTagLen {
		return false, true
	}
	v := &f.verdict
	first := makeTag(etype, binary.BigEndian.Uint16(f.Head[macsLen+2:]))
	vid := uint16(first & tciVID)
	if r.tunnel {
		*v = verdict{off: Headroom, tag: r.outer, inner: innerTag | vid}
		return r.carriesCustomer(vid), false
	}
	*v = verdict{off: Headroom, now: first, tag: first}
	if r.override {
		v.tag = first&^tciPCP | r.outer&tciPCP
	}
	if isTag(binary.BigEndian.Uint16(f.Head[macsLen+vlanTagLen:])) {
		v.inner = innerTag
		if len(f.Head) >= MinFrameLen+2*vlanTagLen {
			v.inner |= binary.BigEndian.Uint16(f.Head[macsLen+vlanTagLen+2:]) & tciVID
		}
	}
	if vid != 0 {
		return !r.access && r.carries(vid), false
	}
	// A priority tag names no VLAN (IEEE 802.1Q-2018, section 6.9.1). The frame is in the VLAN of
	// the port.
	v.tag = v.tag.in(r.pvid)
	return r.carries(r.pvid) && r.carriesCustomer(v.cvlan()), false
}

// admits reports whether the port carries the VLAN of a frame, and that of its customer.
func (r *vlanRule) admits(v *verdict) bool {
	return r.carries(v.vlan()) && r.carriesCustomer(v.cvlan())
}

// shape gives f the shape in which frames leave by a port with rule r, and reports whether f had to
// be changed.
func (r *vlanRule) shape(f *Frame) bool {
	v := &f.verdict
	want, vlan := v.tag, v.vlan()
	if vlan == r.bare && !(r.native && v.inner != 0) {
		want = r.priorityTag(v)
	} else if vlan == 0 {
		want = r.nowhere(v)
	}
	if want == v.now {
		return false
	}
	f.reshape(want)
	return true
}

// nowhere returns the tag with which a frame in VLAN 0 leaves. Frames without a tag are in VLAN 0
// if the port that they come from has no VLAN settings.
func (r *vlanRule) nowhere(v *verdict) tag {
	keep := false
	switch {
	case v.inner != 0:
		keep = true // the inner tag would be taken for the frame's VLAN
	case r.prio == prioKeep:
		keep = v.came()
	case r.prio != prioNo:
		keep = v.tag&tciPCP != 0 || v.came() && r.prio == prioAlways
	}
	if keep {
		return v.tag
	}
	return noTag
}

// priorityTag returns the tag with which a frame of VLAN bare leaves.
func (r *vlanRule) priorityTag(v *verdict) tag {
	if r.prio <= prioKeep || v.inner != 0 || v.tag&tciPCP == 0 {
		return noTag
	}
	return makeTag(tpidDot1Q, uint16(v.tag)).in(0)
}

// reshape gives f a tag behind the addresses instead of the one that f has there now. Either may be
// noTag.
func (f *Frame) reshape(want tag) {
	v := &f.verdict
	switch {
	case want == noTag:
		f.pop()
	case v.now == noTag:
		f.push()
	}
	v.now = want
	if want != noTag {
		binary.BigEndian.PutUint32(f.Head[macsLen:], uint32(want))
	}
}

// push makes room for a tag in f, behind the addresses.
func (f *Frame) push() {
	v := &f.verdict
	end := int(v.off) + len(f.Head)
	v.off -= vlanTagLen
	f.Head = f.Room[v.off:end:end]
	copy(f.Head[:macsLen], f.Head[vlanTagLen:])
	f.shift(vlanTagLen)
}

// pop removes the tag that follows the addresses from f.
func (f *Frame) pop() {
	v := &f.verdict
	end := int(v.off) + len(f.Head)
	copy(f.Head[vlanTagLen:], f.Head[:macsLen])
	v.off += vlanTagLen
	f.Head = f.Room[v.off:end:end]
	f.shift(-vlanTagLen)
}

// shift corrects the length, and all offsets from the start of the frame, after n bytes were
// inserted there (removed, if n is negative).
func (f *Frame) shift(n int) {
	f.Len += n
	o := &f.Offload
	if o.Flags&HdrNeedsCsum != 0 {
		o.CsumStart += uint16(n)
	}
	if o.HdrLen != 0 {
		o.HdrLen += uint16(n)
	}
}
