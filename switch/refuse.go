package vswitch

// Refusals: a port marks each frame that its Transmit does not accept with the reason, and the
// caller of Transmit takes the marks away and counts the drops. A port that accepts all frames
// marks none, and the marks are looked for only if Transmit has accepted fewer frames than it was
// given.

// Refuse marks a frame as not accepted by the port that is transmitting it. It is for ports, within
// Transmit. A frame that is marked already keeps its first reason.
func (f *Frame) Refuse(why DropReason) {
	if f.verdict.refusal == 0 {
		f.verdict.refusal = 1 + uint8(why)
	}
}

// RefuseAll marks frames as not accepted, as Refuse does.
func RefuseAll(frames []*Frame, why DropReason) {
	for _, f := range frames {
		f.Refuse(why)
	}
}

// Refusal returns the reason for which a port has refused the frame, and removes the mark. ok is
// false if the port has accepted the frame. It is for callers of Transmit, of which the switch is
// one.
func (f *Frame) Refusal() (why DropReason, ok bool) {
	mark := f.verdict.refusal
	f.verdict.refusal = 0
	return DropReason(mark - 1), mark != 0
}

// dropRefused drops the frames of a group that port v has refused, and returns them. out is the
// group.
func (in *Inlet) dropRefused(v *portView, group uint64, out []*Frame) (lost uint64) {
	var last DropReason
	var set uint64 // frames that were refused for that reason
	for _, f := range out {
		if why, ok := f.Refusal(); ok {
			if set != 0 && why != last {
				in.drop(stageTransmit, last, v, set)
				set = 0
			}
			last = why
			set |= group & -group
			lost |= group & -group
		}
		group &= group - 1
	}
	if set != 0 {
		in.drop(stageTransmit, last, v, set)
	}
	return lost
}
