package vswitch

// The pipeline that every frame goes through. This file lists the stages in their order; each stage
// has a file, stage_*.go.
//
// A stage works on a whole batch before the next stage begins, so that the memory that a stage
// needs is fetched for many frames at once. Sets of frames are bit masks, bit i standing for the
// i-th frame of the batch: that keeps frames in order without sorting.
//
//	stage     reads                          writes                       drops, at the source port
//	--------  -----------------------------  ---------------------------  -------------------------
//	admit     the port set                   batch.src, RxFrames/RxBytes  source-down, loop-blocked,
//	                                         of a port that is down       mirror-output
//	classify  Head, Offload, the source      Frame.verdict (the VLAN),    too-short, too-long,
//	          port's settings                Offload, batch.runs,         reserved-address,
//	                                         RxFrames/RxBytes             bad-source, bad-offload,
//	                                                                      vlan
//	loop      if the port is blocked or has  batch.runs, blocks of        loop-probe
//	          a filter, guards or rates:     ports (rarely)
//	          batch.runs, Head of probes
//	filter    batch.runs, Head, the source   batch.runs, counters of      filter, filter-unreadable
//	          port's filter                  rules
//	guard     batch.runs, Head, the FDB,     batch.runs                   mac-spoofed, ip-spoofed,
//	          the source port's guards                                    locked, dhcp-guard,
//	                                                                      ra-guard, bpdu-guard,
//	                                                                      guard-unreadable
//	police    batch.runs, the source port's  batch.runs, buckets          rate-limit
//	          rates
//	mirror    batch.runs, mirrors, Head if   counters of rules            counted at the mirror
//	          a mirror has a filter
//	learn     batch.runs                     the FDB, FDB events, clashes nothing
//	lookup    batch.runs, the FDB, settings  batch.groups (one known      to-host, own-port, policy,
//	          of both ports                  destination), or unknown,    vlan, mirror-output,
//	                                         mcast and bcast (flooded)    blackhole
//	loop      mcast, unknown and bcast,      mcast; blocks of ports       loop-probe; probes as send
//	          clashes of addresses           (rarely)
//	storm     unknown, mcast and bcast, the  unknown, mcast and bcast,    storm-control
//	          source port's limits           buckets
//	snoop     mcast, Head, copies of         the MDB; snooped and sets    nothing
//	          reports, the MDB               instead of mcast
//	neigh     batch.runs, Head, bcast and    the neighbor table; known,   of replies: filter, and
//	          mcast, the neighbor table,     answered and replies         as send
//	          the FDB, the source port's
//	          egress filter
//	flood     unknown, mcast, bcast and      nothing                      no-destination, no-member,
//	          snooped, known, settings of                                 neigh-suppress
//	          all ports
//
//	stage     once for each destination                                   drops, at the destination
//	--------  ----------------------------------------------------------  -------------------------
//	filter    Head, the destination port's filter                         filter, filter-unreadable
//	send      gives Head the tags that the destination port wants,        port-down, egress-rate,
//	          keeps to the rate of the destination port                   loop-blocked
//	repair    does offloads that the port does not take (repair.go)       too-big, bad-offload
//	transmit  Port.Transmit                                               what the port refuses
//	mirror    copies of what went to the port, for mirrors                counted at the mirror
//
// Copies that the output of a mirror refuses are counted as its drops, besides.
//
// Taps are shown frames in the steps called mirror, and dropped frames when Deliver counts them.
//
// A frame that a stage drops is in no set that later stages read. No stage writes Body. After
// classify, decisions depend only on Frame.verdict, the runs, the FDB and the ports' settings;
// those of filter and guard also on Head and Offload, those of snoop on Head and the MDB, those of
// neigh on Head and the neighbor table, those of loop on Head.
//
// No stage allocates, except snoop for a new membership, neigh for a new neighbor, and loop to
// block a port. No stage reads the time, except once for each batch that a rate of the source or of
// a destination applies to, or that causes probes. The only locks are the FDB's, for new and moved
// addresses, the MDB's, for reports and queries, and the neighbor table's, for new and changed
// neighbors, for which no stage waits, and Switch.mu, to block a port. The stages read the ports
// from one immutable portSet, which the inlet's epoch protects. The batch belongs to one Inlet and
// is used by the goroutine that is inside that Inlet's Deliver.
//
// A Transmit may panic, if a guest's memory vanishes while the port copies from it. The panic
// passes through Deliver; the next call clears the state that is left.

// Deliver takes frames, in order, from the port that the inlet belongs to, and passes them to
// Transmit of their destination ports before it returns. All frames are counted as received. After
// Deliver, the frames belong to the caller again; their Head, Len and Offload may have changed.
// More than MaxBatch frames are handled as several batches.
//
// The source addresses of a whole batch are learned before the first destination is looked up.
//
// Deliver must not be called again on the same inlet before it has returned; calls on different
// inlets may run at the same time.
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
	in.flooding = false
	b.set = in.sw.set.Load()
	b.now, b.changes = in.sw.fdb.now(), in.sw.fdb.changes.Load()

	if !in.admit(frames) {
		return
	}
	b.recalls = in.recalls()
	in.classify(frames)
	if b.src.checked && b.set.loops.on {
		in.catchProbes(frames)
	}
	in.filterer.reset()
	if b.src.ingressFilter != nil {
		in.filterIngress(frames)
	}
	if b.src.guard != nil {
		in.guard(frames)
	}
	if b.src.policing != nil {
		in.police(frames)
	}
	if b.set.observed {
		in.observe(frames)
	}
	if b.src.cfg.Learning {
		in.learn()
	} else {
		b.settled = ^uint64(0)
	}
	if b.ngroups != 0 && in.sw.fdb.changes.Load() != b.changes {
		in.reconsider(frames)
	}
	in.lookup(frames)
	if b.set.loops.on && (b.flooded() != 0 || b.clash.found) {
		in.watchLoops(frames)
	}
	if b.src.storm != nil {
		in.controlStorm(frames)
	}
	if b.mcast != 0 && b.set.mcast.table != nil {
		in.snoop(frames)
	}
	if b.set.neigh.table != nil {
		in.suppressNeighbors(frames)
	}
	if b.flooded() != 0 {
		in.flood(frames) // sends the unicast frames as well
		return
	}
	for i := range b.groups[:b.ngroups] {
		in.send(b.groups[i].to, b.groups[i].frames, frames)
	}
}

// leave ends deliver, also if a stage panics.
func (in *Inlet) leave() {
	in.settle()
	in.epoch.leave()
}
