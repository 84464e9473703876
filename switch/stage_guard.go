package vswitch

// Stage guard: drops frames that the source port's guards do not allow. It runs only for ports that
// have guards.

// guard checks the frames of a batch. A run without frames is removed, so that its addresses are
// neither learned nor looked up.
func (in *Inlet) guard() {
	b := &in.batch
	kept := 0
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if why, ok := in.allows(r); !ok {
			in.drop(stageGuard, why, b.src, r.frames)
			continue
		}
		if kept != i {
			b.runs[kept] = *r
		}
		kept++
	}
	b.nruns = kept
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
