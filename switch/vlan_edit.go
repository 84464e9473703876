package vswitch

import "encoding/binary"

// The hot path of VLANs: finding out which VLAN a frame is in, and pushing and popping tags for
// each destination.

// verdict is the result of classifying a frame; valid while the frame is inside Deliver.
//
// A frame has two shapes: bare, without the tag of its VLAN, and tagged. The switch changes a frame
// from one shape to the other in place, by moving the two addresses by the length of a tag, as
// destinations need it.
type verdict struct {
	vlan   uint16
	tpid   uint16 // type of the tag of the tagged shape
	tci    uint16 // priority and VLAN of that tag
	off    uint8  // the present offset of Head in Room
	tagged bool   // the frame has the tagged shape now
	came   bool   // the frame came in the tagged shape
	retag  bool   // the frame came with a tag that has another VLAN id
	inner  bool   // the bare shape has a tag, too

	refusal uint8 // 1 + the reason for which a port has refused the frame; 0: none, see Refuse
}

func isTag(etype uint16) bool { return etype == tpidDot1Q || etype == tpidDot1AD }

// untagged returns the verdict for frames without a tag from a port with rule r, which is the same
// for all of them. ok is false if the port does not carry their VLAN.
func (r *vlanRule) untagged() (v verdict, ok bool) {
	v = verdict{off: Headroom, vlan: r.pvid, tpid: tpidDot1Q, tci: r.pvid}
	if r.tunnel {
		v.tpid = tpidDot1AD
	}
	return v, r.carries(r.pvid)
}

// classify is untagged for a frame with a tag of type etype. It sets f.verdict. short is true if
// the frame ends within its tag.
func (r *vlanRule) classify(f *Frame, etype uint16) (ok, short bool) {
	v := &f.verdict
	*v = verdict{off: Headroom}
	if r.tunnel {
		v.vlan, v.tpid, v.tci = r.pvid, tpidDot1AD, r.pvid
		v.inner = true
		return true, false
	}
	if len(f.Head) < MinFrameLen+vlanTagLen {
		return false, true
	}
	v.tagged, v.came, v.tpid = true, true, etype
	v.inner = isTag(binary.BigEndian.Uint16(f.Head[macsLen+vlanTagLen:]))
	v.tci = binary.BigEndian.Uint16(f.Head[macsLen+2:])
	vid := v.tci & tciVID
	if vid == 0 {
		// A priority tag names no VLAN (IEEE 802.1Q-2018, section 6.9.1). The tagged shape has the
		// VLAN of the port.
		v.vlan = r.pvid
		v.tci |= r.pvid
		v.retag = r.pvid != 0
		return r.carries(r.pvid), false
	}
	v.vlan = vid
	return !r.access && r.carries(vid), false
}

// shape gives f the shape in which frames leave by a port with rule r, and reports whether f had to
// be changed.
//
// Frames of VLAN 0, to which frames without a tag belong if the port has no VLAN settings, stay as
// they came, priority tags included.
func (r *vlanRule) shape(f *Frame) bool {
	v := &f.verdict
	want := v.vlan != r.bare || r.native && v.inner
	if v.vlan == 0 {
		want = want && v.came
	}
	if want == v.tagged {
		if !v.retag || !want {
			return false
		}
		binary.BigEndian.PutUint16(f.Head[macsLen+2:], v.tci)
		v.retag = false
		return true
	}
	if want {
		f.push()
	} else {
		f.pop()
	}
	return true
}

// push inserts the verdict's tag into f, behind the addresses.
func (f *Frame) push() {
	v := &f.verdict
	end := int(v.off) + len(f.Head)
	v.off -= vlanTagLen
	f.Head = f.Room[v.off:end:end]
	copy(f.Head[:macsLen], f.Head[vlanTagLen:])
	binary.BigEndian.PutUint16(f.Head[macsLen:], v.tpid)
	binary.BigEndian.PutUint16(f.Head[macsLen+2:], v.tci)
	v.tagged, v.retag = true, false
	f.shift(vlanTagLen)
}

// pop removes the tag that follows the addresses from f.
func (f *Frame) pop() {
	v := &f.verdict
	end := int(v.off) + len(f.Head)
	copy(f.Head[vlanTagLen:], f.Head[:macsLen])
	v.off += vlanTagLen
	f.Head = f.Room[v.off:end:end]
	v.tagged = false
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
