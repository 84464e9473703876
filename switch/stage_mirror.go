package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// Stage mirror: copies of frames are sent to the outputs of mirrors, as they came from a selected
// port, before they are learned from and looked up, and as they went to a selected port, after its
// Transmit.
//
// A copy has a private Head, in which its tags are changed, and shares the Body. The frames
// themselves are not touched. A frame is sent to each output once at most, whatever selects it, and
// seen by the filter of each mirror once at most.
//
// Locking: none. A mirrorer belongs to one Inlet.

// A mirrorer is the memory that mirroring needs. Only inlets whose frames have been mirrored have
// one.
type mirrorer struct {
	done     [MaxMirrors]uint64 // frames of the batch that have been sent to the output of a mirror
	filtered [MaxMirrors]uint64 // frames of the batch that the filter of a mirror has not accepted
	used     bool               // done and filtered have to be cleared
	replies  bool               // the frames are not those of the batch: see Inlet.observeReplies

	copies copies
	out    [MaxBatch]*Frame
	pieces [][]byte // the Bodies of copies that are cut
}

// mirror sends a set of frames to the outputs of some mirrors: bit i of which stands for the i-th
// mirror. Frames that have been sent to an output already are left out.
func (in *Inlet) mirror(which uint32, set uint64, frames []Frame) {
	if in.mirrorer == nil {
		in.mirrorer = new(mirrorer)
	}
	w := in.mirrorer
	w.used = true
	for ; which != 0; which &= which - 1 {
		i := bits.TrailingZeros32(which)
		m := &in.batch.set.mirrors[i]
		todo := set &^ w.done[m.output]
		if m.vlans != nil || m.vlan != noVLAN {
			todo = m.selected(todo, frames)
		}
		if todo &^= w.filtered[i]; m.filter != nil && todo != 0 {
			lost := in.filter(stageMirror, m.filter, nil, todo, frames)
			w.filtered[i] |= lost
			todo &^= lost
		}
		if todo == 0 {
			continue
		}
		w.done[m.output] |= todo
		if len(m.to) == 0 {
			m.counters.Drops.Add(uint64(bits.OnesCount64(todo)))
		}
		for _, v := range m.to {
			if m.vlan == noVLAN || v != in.batch.src {
				in.sendCopies(m, v, todo, frames)
			}
		}
	}
}

// selected returns the frames that are in the mirror's VLANs. Frames that are in the output VLAN
// already, and frames to reserved addresses, are not sent into an output VLAN.
func (m *mirror) selected(set uint64, frames []Frame) (todo uint64) {
	for ; set != 0; set &= set - 1 {
		f := &frames[bits.TrailingZeros64(set)]
		vlan := f.verdict.vlan()
		if m.vlans != nil && !m.vlans.has(vlan) {
			continue
		}
		if m.vlan != noVLAN && (vlan == m.vlan || isReserved(f.Head)) {
			continue
		}
		todo |= set & -set
	}
	return todo
}

// isReserved reports whether the frame that begins with head is for a reserved address.
func isReserved(head []byte) bool {
	return addr(binary.BigEndian.Uint64(head)>>16)&addrReservedMask == addrReserved
}

// sendCopies sends copies of a set of frames to port v. The mirror counts all copies that the port
// does not get, and the port those that it refuses.
func (in *Inlet) sendCopies(m *mirror, v *portView, set uint64, frames []Frame) {
	w, n, bytes := in.mirrorer, 0, 0
	for s := set; s != 0; s &= s - 1 {
		c := w.copies.add(n, &frames[bits.TrailingZeros64(s)])
		if m.vlan != noVLAN {
			c.moveTo(m.vlan)
		}
		v.vlan.shapeCopy(c)
		if m.snaplen != 0 && c.Len > m.snaplen {
			w.cut(c, m.snaplen)
		}
		bytes += c.Len
		w.out[n] = c
		n++
	}
	m.counters.Frames.Add(uint64(n))
	m.counters.Bytes.Add(uint64(bytes))
	sent := n
	if v.egress != nil {
		sent = in.affordable(v.egress, w.out[:n])
	}
	drops := n - sent
	var lost uint64
	for _, l := range in.repair.transmit(v.port, w.out[:sent]) {
		drops += l.n
		lost |= l.nths
		if l.at == stageTransmit {
			d := drop{at: stageMirror, why: l.why, port: v, n: l.n}
			if !w.replies {
				d.frames = pick(set, l.nths)
			}
			in.record(d)
		}
	}
	if v.taps != nil {
		in.tapCopies(v, set, w.copies.frames[:sent], lost)
	}
	if drops > 0 {
		m.counters.Drops.Add(uint64(drops))
	}
	w.copies.release(n)
	clear(w.pieces)
	w.pieces = w.pieces[:0]
}

// shapeCopy gives a copy the shape in which copies leave by a port with rule r. A port with a
// single VLAN sends copies without the tag of their VLAN, whichever that is, as in Open vSwitch.
func (r *vlanRule) shapeCopy(c *Frame) {
	if !r.access && !r.tunnel {
		r.shape(c)
	} else if c.verdict.now != noTag {
		c.reshape(noTag)
	}
}

// moveTo moves a frame to another VLAN: the tag of its VLAN gets another id.
func (f *Frame) moveTo(vlan uint16) {
	f.verdict.tag = f.verdict.tag.in(vlan)
}

// cut cuts a copy to a length. What its sender has left to do can no longer be done: a copy
// that is cut may have a wrong checksum, and stays one frame.
func (w *mirrorer) cut(c *Frame, length int) {
	c.Offload = Offload{}
	c.Len = length
	if length <= len(c.Head) {
		c.Head, c.Body = c.Head[:length], nil
		return
	}
	begin := len(w.pieces)
	for left, k := length-len(c.Head), 0; left > 0; k++ {
		piece := c.Body[k][:min(left, len(c.Body[k]))]
		w.pieces = append(w.pieces, piece)
		left -= len(piece)
	}
	c.Body = w.pieces[begin:len(w.pieces):len(w.pieces)]
}

// reset forgets the frames of the last batch.
func (w *mirrorer) reset() {
	if w != nil && w.used {
		clear(w.done[:])
		clear(w.filtered[:])
		w.used, w.replies = false, false
	}
}
