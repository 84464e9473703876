package vswitch

import "math/bits"

// Stages send, repair and transmit: what happens to a group of frames in front of one destination.

// send transmits a group of frames to port v.
func (in *Inlet) send(v *portView, group uint64, frames []Frame) {
	b := &in.batch
	if !v.up {
		in.drop(stageSend, DropDown, v, group)
		return
	}
	// Egress filters and rates, and mirrors, belong here. Frames have the tags that the last
	// destination wanted; their VLAN is in Frame.verdict.
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
	if b.fits(v) {
		if v.port.Transmit(out) < n {
			in.drop(stageTransmit, countedByPort, v, group)
		}
		return
	}
	if lost := in.repair.transmit(v.port, out); lost != (losses{}) {
		in.dropLosses(v, group, &lost)
	}
}

// dropLosses drops what repair could not send of a group to port v.
func (in *Inlet) dropLosses(v *portView, group uint64, lost *losses) {
	for _, l := range []struct {
		at   stage
		why  DropReason
		nths uint64
	}{
		{stageRepair, DropTooBig, lost.tooBig},
		{stageRepair, DropBadOffload, lost.bad},
		{stageTransmit, countedByPort, lost.untaken},
	} {
		if l.nths != 0 {
			in.drop(l.at, l.why, v, pick(group, l.nths))
		}
	}
}

// pick returns the members of a set whose places in the set, counted from the lowest, are in nths.
func pick(set, nths uint64) (picked uint64) {
	for ; set != 0 && nths != 0; nths >>= 1 {
		if nths&1 != 0 {
			picked |= set & -set
		}
		set &= set - 1
	}
	return picked
}

// fits reports whether port v takes every frame of the batch as it is. That is known
// without looking at them if nothing is to be done to any.
func (b *batch) fits(v *portView) bool {
	if b.offloads || b.shaped {
		return false
	}
	mtu := v.port.Caps().MTU
	return mtu == 0 || b.longest <= etherLen+mtu
}
