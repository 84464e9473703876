package vswitch

import "math/bits"

// Stages send, repair and transmit: the last steps for a group of frames, for one destination.

// send transmits a group of frames to port v.
func (in *Inlet) send(v *portView, group uint64, frames []Frame) {
	b := &in.batch
	if !v.up {
		why := DropDown
		if v.blocked {
			why = DropLoopBlocked
		}
		in.drop(stageSend, why, v, group)
		return
	}
	// Frames still have the tags of the last destination here; their VLAN is in Frame.verdict.
	if v.egressFilter != nil {
		if group &^= in.filter(stageEgressFilter, v.egressFilter, v, group, frames); group == 0 {
			return
		}
	}
	n := 0
	for m := group; m != 0; m &= m - 1 {
		b.out[n&(MaxBatch-1)] = &frames[bits.TrailingZeros64(m)]
		n++
	}
	out := b.out[:n]
	if b.shaped || !v.vlan.plain || !b.src.vlan.plain {
		for _, f := range out {
			if v.vlan.shape(f) {
				b.shaped = true
			}
		}
	}
	if v.egress != nil {
		if n = in.affordable(v.egress, out); n < len(out) {
			kept := pick(group, 1<<n-1)
			in.drop(stageSend, DropEgressRate, v, group&^kept)
			if n == 0 {
				return
			}
			group, out = kept, out[:n]
		}
	}
	var lost uint64
	if b.fits(v) {
		if v.port.Transmit(out) < n {
			lost = in.dropRefused(v, group, out)
		}
	} else if l := in.repair.transmit(v.port, out); len(l) > 0 {
		lost = in.dropLost(v, group, l)
	}
	if v.observed {
		in.observeSent(v, group, lost, frames)
	}
}

// dropLost drops the frames of a group that repair has not sent to port v, and returns them.
func (in *Inlet) dropLost(v *portView, group uint64, list losses) (lost uint64) {
	for _, l := range list {
		frames := pick(group, l.nths)
		lost |= frames
		in.record(drop{at: l.at, why: l.why, port: v, frames: frames, n: l.n})
	}
	return lost
}

// affordable returns the number of frames for which bucket k has tokens, and takes the tokens.
// These frames are the first ones.
func (in *Inlet) affordable(k *bucket, out []*Frame) int {
	b := &in.batch
	for i, f := range out {
		b.sizes[i&(MaxBatch-1)] = wireBits(f)
	}
	return k.take(in.nanotime(), b.sizes[:len(out)])
}

// pick returns the n-th members of a set for all n in nths; the lowest bit is member 0.
func pick(set, nths uint64) (picked uint64) {
	for ; set != 0 && nths != 0; nths >>= 1 {
		if nths&1 != 0 {
			picked |= set & -set
		}
		set &= set - 1
	}
	return picked
}

// fits reports whether port v certainly accepts every frame of the batch as it is, without reading
// the frames.
func (b *batch) fits(v *portView) bool {
	if b.offloads || b.shaped {
		return false
	}
	mtu := v.port.Caps().MTU
	return mtu == 0 || b.longest <= etherLen+mtu
}
