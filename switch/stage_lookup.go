package vswitch

// Stage lookup: finds the port to which each frame goes, or that the frame is flooded.

// lookup finds the destinations of all frames.
func (in *Inlet) lookup(frames []Frame) {
	b, t := &in.batch, in.sw.fdb
	last := ^hash(0)
	var id portID
	var to *portView
	var why DropReason
	var ok bool
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		switch {
		case r.dst == addrBroadcast:
			b.bcast |= r.frames
			continue
		case r.dst&addrGroup != 0:
			b.mcast |= r.frames
			continue
		}
		if r.dstHash != last || b.customers {
			last = r.dstHash
			id = t.destination(r.dst, r.dstHash, b.now)
			if to = b.set.get(id); to != nil {
				if ok = to.open && to != b.src; !ok {
					why, ok = b.src.admitted(to, r.dst, &frames[r.first].verdict)
				}
			}
		}
		switch {
		case to != nil && ok:
			b.assign(r.frames, to)
			if b.recalls && b.settled&b.untagged>>r.first&1 != 0 {
				in.memo.store(r.dst, r.srcKey.addr(), id)
			}
		case to != nil:
			in.drop(stageLookup, why, b.src, r.frames)
		case id == blackhole:
			in.drop(stageLookup, DropBlackhole, b.src, r.frames)
		default:
			b.unknown |= r.frames
		}
	}
}

// admitted reports whether a frame from src to address dst with a verdict may go to port to.
func (src *portView) admitted(to *portView, dst addr, v *verdict) (why DropReason, ok bool) {
	if why, ok = src.reaches(to, dst); ok && !to.vlan.all && !to.vlan.admits(v) {
		return DropVLAN, false
	}
	return why, ok
}

// reaches reports whether a frame from src to address dst may go to port to, if that carries the
// frame's VLAN.
func (src *portView) reaches(to *portView, dst addr) (why DropReason, ok bool) {
	switch {
	case to.mirror.output:
		return DropMirrorOutput, false
	case to == src && src.isLocal(dst):
		return DropHost, false // the host would receive the frame twice
	case to == src && !src.cfg.Hairpin:
		return DropHairpin, false
	case src.parts(to):
		return DropPolicy, false
	}
	return 0, true
}

// assign adds frames to the group of their destination.
func (b *batch) assign(frames uint64, to *portView) { *b.groupFor(to.id) |= frames }

// groupFor returns the set of frames of the group that goes to a port.
func (b *batch) groupFor(id portID) *uint64 {
	g := b.groupOf[id]
	if g == 0 {
		b.groups[b.ngroups] = group{to: b.set.byID[id]}
		b.ngroups++
		g = uint8(b.ngroups)
		b.groupOf[id] = g
	}
	return &b.groups[g-1].frames
}
