package vswitch

// The pipeline that every frame goes through, stage by stage. This file is the list of the stages;
// each stage is a file, stage_*.go.
//
// A stage works on a whole batch before the next stage begins, so that the memory that a stage
// needs is fetched for many frames at once. Sets of frames are bit masks, bit i standing for the
// i-th frame of the batch: that keeps frames in order without sorting.
//
//	stage     reads                          writes                       drops, at the source port
//	--------  -----------------------------  ---------------------------  ---------------------------
//	admit     the port set                   batch.src, RxFrames/RxBytes  source-down
//	                                         of a port that is down
//	classify  Head, Offload, the source      Frame.verdict (the VLAN),    too-short, too-long,
//	          port's settings                Offload, batch.runs,         reserved-address,
//	                                         RxFrames/RxBytes             bad-source, bad-offload,
//	                                                                      vlan
//	learn     batch.runs                     the FDB, FDB events          nothing
//	lookup    batch.runs, the FDB, settings  batch.groups (one known      to-host, own-port, policy,
//	          of both ports                  destination), or unknown,    vlan
//	                                         mcast and bcast (flooded)
//	flood     unknown, mcast and bcast,      nothing                      no-destination
//	          settings of all ports
//
//	stage     once for each destination                                   drops, at the destination
//	--------  ----------------------------------------------------------  ---------------------------
//	send      gives Head the tags that the destination port wants         port-down
//	repair    does offloads that the port does not take (repair.go)       too-big, bad-offload
//	transmit  Port.Transmit                                               whatever the port counts
//
// A frame that a stage drops is in no set that later stages look at. Stages write no Body, and
// after classify no stage makes a decision on anything but Frame.verdict, the runs and the FDB.
//
// Nothing here allocates or reads the time. The only lock is the FDB's, for new and moved
// addresses, and no stage waits for that lock. What the stages read of the ports is one immutable
// portSet, protected by the inlet's epoch. The batch belongs to one Inlet and is used by the
// goroutine that is inside that Inlet's Deliver.
//
// A Transmit may panic (a guest's memory can turn out to be gone while it is copied from). The
// panic passes through Deliver, which leaves nothing behind that the next call does not clear.

// Deliver takes frames, in order, from the port that the inlet belongs to, and hands them to
// Transmit of the ports that they go to before Deliver returns. It counts them all as received.
// The frames are the caller's again afterwards; Head, Len and Offload of them may have changed.
// More than MaxBatch frames are taken as several batches.
//
// Learning comes before looking up, for the batch as a whole.
//
// An inlet's Deliver must not be called again before it has returned; calls on different inlets
// may run at the same time.
func (in *Inlet) Deliver(frames []Frame) {
	for len(frames) > MaxBatch {
		in.deliver(frames[:MaxBatch])
		frames = frames[MaxBatch:]
	}
	if len(frames) > 0 {
		in.deliver(frames)
	}
}

// deliver takes one batch through the stages.
func (in *Inlet) deliver(frames []Frame) {
	in.epoch.enter()
	defer in.leave()
	b := &in.batch
	b.reset()
	b.set = in.sw.set.Load()
	b.now = in.sw.fdb.now()

	if !in.admit(frames) {
		return
	}
	in.classify(frames)
	// Ingress filters, guards and rates belong here: frames have a VLAN, and what is dropped here
	// is not learned from.
	if b.src.cfg.Learning {
		in.learn()
	}
	in.lookup(frames)
	// Multicast snooping belongs here: it takes frames out of batch.mcast and names their ports.
	if b.flooded() != 0 {
		in.flood(frames) // and, in one go, unicast frames
		return
	}
	for i := range b.groups[:b.ngroups] {
		in.send(b.groups[i].to, b.groups[i].frames, frames)
	}
}

// leave ends what deliver began, also if a stage panics.
func (in *Inlet) leave() {
	in.settle()
	in.epoch.leave()
}
