package vswitch

import "math/bits"

// Stage guard: drops frames that the source port's guards do not allow. It runs only for ports that
// have guards.

// guard checks the frames of a batch. A run without frames is removed, so that its addresses are
// neither learned nor looked up.
func (in *Inlet) guard(frames []Frame) {
	b := &in.batch
	kept := 0
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if why, ok := in.allows(r); !ok {
			in.drop(stageGuard, why, b.src, r.frames)
			continue
		}
		if b.src.guard.packets {
			in.guardPackets(r, frames)
			if r.frames == 0 {
				continue
			}
		}
		if kept != i {
			b.runs[kept] = *r
		}
		kept++
	}
	b.nruns = kept
}

// guardPackets removes the frames from a run whose packets are not allowed.
func (in *Inlet) guardPackets(r *run, frames []Frame) {
	b := &in.batch
	for m := r.frames; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if why, ok := b.src.guard.allowsPacket(&frames[i]); !ok {
			in.drop(stageGuard, why, b.src, 1<<i)
			r.frames &^= 1 << i
		}
	}
}

// allows reports whether the addresses of a run are allowed.
func (in *Inlet) allows(r *run) (DropReason, bool) {
	g, src := in.batch.src.guard, r.srcKey.addr()
	switch {
	case g.bpdu && (r.dst == addrBPDU || r.dst == addrProviderBPDU || r.dst == addrPVST):
		return DropBPDUGuard, false
	case len(g.macs) > 0 && !g.macs.has(src):
		return DropMACSpoofed, false
	case g.locked && !in.sw.fdb.staticAt(src, r.srcHash, in.batch.src.id):
		return DropLocked, false
	}
	return 0, true
}
