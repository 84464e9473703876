package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// The switch's hot path. A batch goes through it in passes, so that memory is
// fetched for many frames at once: classify all, learn all sources, look up
// all destinations, then transmit once for each destination. Sets of frames
// are bit masks, bit i standing for the i-th frame of the batch, so that order
// is kept by itself.
//
// Nothing here allocates or reads the time. The only lock is the FDB's, for new
// and moved addresses, and it is never waited for. What the passes read of the
// ports is one immutable portSet, protected by the inlet's epoch.
//
// A Transmit may panic (a guest's memory can turn out to be gone while it is
// copied from); the panic passes through Deliver, which leaves nothing behind
// that the next call does not clear.

// batch is the scratch memory of one Deliver.
type batch struct {
	src *portView
	set *portSet
	now uint32

	runs  [MaxBatch]run // frames that were not dropped
	nruns int

	unknown, mcast, bcast uint64 // those of them that are flooded, and why

	offloads bool // something is left to be done to some of them
	longest  int  // Len of the longest

	groups  [MaxBatch]group // destinations of unicast frames
	ngroups int
	groupOf [maxPorts]uint8 // by port id: index into groups plus 1, or 0

	vlans  [MaxBatch]vlanGroup // VLANs of flooded frames
	nvlans int

	drops   [numDropReasons]int
	dropped bool
	shaped  bool // a tag was put on or taken off: shapes have to be checked
	out     [MaxBatch]*Frame
	touched uint64 // keeps touch from being optimised away
}

// A run is frames of a batch that are treated alike, because they have the same
// addresses and are in the same VLAN.
type run struct {
	frames  uint64
	first   int // the first of them
	dst     addr
	srcKey  fdbKey
	srcHash hash
	dstHash hash // if dst is one station's
}

// A beginning is what a frame begins with, the addresses and the type or that of a tag, in
// two words that overlap by two bytes.
type beginning [2]uint64

// beginNone is no frame's beginning: the two bytes differ.
var beginNone = beginning{0, ^uint64(0)}

type group struct {
	to     *portView
	frames uint64
}

type vlanGroup struct {
	vlan   uint16
	frames uint64
}

// Deliver takes frames, in order, from the port that the inlet belongs to, and
// hands them to Transmit of the ports that they go to before it returns. It
// counts them all as received. The frames are the caller's again afterwards;
// Head, Len and Offload of them may have changed. More than MaxBatch frames are
// taken as several batches.
//
// Learning comes before looking up, for the batch as a whole.
//
// An inlet's Deliver must not be called again before it has returned; those of
// different inlets may run at the same time.
func (in *Inlet) Deliver(frames []Frame) {
	for len(frames) > MaxBatch {
		in.deliver(frames[:MaxBatch])
		frames = frames[MaxBatch:]
	}
	if len(frames) > 0 {
		in.deliver(frames)
	}
}

func (in *Inlet) deliver(frames []Frame) {
	in.epoch.enter()
	defer in.leave()

	b := &in.batch
	b.reset()
	b.set = in.sw.set.Load()
	b.now = in.sw.fdb.now()
	src := b.set.get(in.att.id)
	if src == nil || src.att != in.att || !src.up {
		in.refuse(frames, src)
		return
	}
	b.src = src
	in.classify(frames)
	if src.cfg.Learning {
		in.learn()
	}
	in.lookup(frames)
	in.forward(frames)
}

// leave ends what deliver began, also if it panics.
func (in *Inlet) leave() {
	b := &in.batch
	if b.dropped {
		for r, n := range b.drops {
			b.src.counters.Drop(DropReason(r), n)
		}
	}
	in.epoch.leave()
}

func (b *batch) reset() {
	for i := range b.groups[:b.ngroups] {
		b.groupOf[b.groups[i].to.id] = 0
	}
	b.ngroups, b.nvlans, b.nruns = 0, 0, 0
	b.unknown, b.mcast, b.bcast = 0, 0, 0
	if b.dropped {
		clear(b.drops[:])
	}
	b.dropped, b.shaped = false, false
}

func (b *batch) drop(r DropReason, n int) {
	b.drops[r] += n
	b.dropped = b.dropped || n > 0
}

// refuse drops what comes from a port that is down or detached.
func (in *Inlet) refuse(frames []Frame, src *portView) {
	c := in.counters
	if src != nil && src.att == in.att {
		c = src.counters
	}
	received(c, frames)
	c.Drop(DropSourceDown, len(frames))
}

func received(c *Counters, frames []Frame) {
	n := 0
	for i := range frames {
		n += frames[i].Len
	}
	c.RxFrames.Add(uint64(len(frames)))
	c.RxBytes.Add(uint64(n))
}

// classify drops what is not fit to be forwarded, finds out each frame's VLAN,
// and prepares the look-ups of the others. Frames that follow one another often
// have the same addresses. What has been worked out for the first of them holds
// for the others as well, unless they have tags.
func (in *Inlet) classify(frames []Frame) {
	b := &in.batch
	b.touched, b.offloads = 0, false
	lastSrc, lastDst := noKey, noKey
	var srcHash, dstHash hash
	untagged, carried := b.src.vlan.untagged()
	var r *run
	same := beginNone // what frames of r begin with, if others may join it
	bytes, longest := 0, 0
	for i := range frames {
		f := &frames[i]
		bytes += f.Len
		longest = max(longest, f.Len)
		if len(f.Head) < MinFrameLen {
			b.drop(DropTooShort, 1)
			continue
		}
		begin := beginning{binary.BigEndian.Uint64(f.Head), binary.BigEndian.Uint64(f.Head[6:])}
		if begin == same && f.Len <= MaxFrameLen {
			if !f.Offload.isZero() {
				b.offloads = true
				if !checkOffload(f) {
					b.drop(DropBadOffload, 1)
					continue
				}
			}
			f.verdict = untagged
			r.frames |= 1 << i
			continue
		}
		dst, src, etype := addr(begin[0]>>16), addr(begin[1]>>16), uint16(begin[1])
		b.offloads = b.offloads || !f.Offload.isZero()
		if why, ok := b.src.fit(f, dst, src); !ok {
			b.drop(why, 1)
			continue
		}
		same = beginNone
		if why, ok := b.inVLAN(f, etype, untagged, carried); !ok {
			b.drop(why, 1)
			continue
		}
		if !isTag(etype) {
			same = begin
		}
		if k := makeKey(src, f.verdict.vlan); k != lastSrc {
			lastSrc, srcHash = k, in.hash(k)
		}
		if k := makeKey(dst, f.verdict.vlan); k != lastDst && dst&addrGroup == 0 {
			lastDst, dstHash = k, in.hash(k)
		}
		r = &b.runs[b.nruns]
		b.nruns++
		r.frames, r.first, r.dst = 1<<i, i, dst
		r.srcKey, r.srcHash, r.dstHash = lastSrc, srcHash, dstHash
	}
	b.longest = longest
	b.src.counters.RxFrames.Add(uint64(len(frames)))
	b.src.counters.RxBytes.Add(uint64(bytes))
}

// hash returns the hash of k and has the entry fetched that look-ups will want.
func (in *Inlet) hash(k fdbKey) hash {
	t := in.sw.fdb
	h := t.perm.hash(k)
	in.batch.touched += t.touch(h)
	return h
}

// inVLAN finds out which VLAN a frame is in, whose addresses are followed by etype, and
// whether the port that it came from is.
func (b *batch) inVLAN(f *Frame, etype uint16, untagged verdict, carried bool) (DropReason, bool) {
	if !isTag(etype) {
		f.verdict = untagged
		return DropVLAN, carried
	}
	ok, short := b.src.vlan.classify(f, etype)
	if short {
		return DropTooShort, false
	}
	return DropVLAN, ok
}

// fit reports whether a frame may be forwarded at all, as far as that can be
// told without looking anything up.
func (v *portView) fit(f *Frame, dst, src addr) (DropReason, bool) {
	switch {
	case f.Len > MaxFrameLen:
		return DropTooLong, false
	case dst&addrReservedMask == addrReserved && v.cfg.GroupFwdMask>>(dst&^addrReservedMask)&1 == 0:
		return DropReserved, false
	case src&addrGroup != 0 || src == 0:
		return DropBadSource, false
	case !f.Offload.isZero() && !checkOffload(f):
		return DropBadOffload, false
	}
	return 0, true
}

// learn brings the FDB up to date with the batch's source addresses.
func (in *Inlet) learn() {
	b, t := &in.batch, in.sw.fdb
	var fresh, moved, claims uint64 // frames
	last, how := ^hash(0), seenHere
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if r.srcHash != last {
			last, how = r.srcHash, t.seen(r.srcKey, r.srcHash, b.src.id, b.now)
			switch how {
			case seenNew:
				fresh |= r.frames
			case seenElsewhere:
				moved |= r.frames
			}
		}
		if how == seenStatic {
			claims |= r.frames
			b.src.fdb.claimed.Store(uint64(r.srcKey))
		}
	}
	in.count(FDBStaticClaims, claims)
	if fresh != 0 && !b.src.fdb.mayLearn(b.now) {
		in.count(FDBLimited, fresh)
		fresh = 0
	}
	if fresh|moved != 0 {
		in.write(fresh | moved)
	}
}

// count counts an event for each of some frames.
func (in *Inlet) count(e FDBEvent, frames uint64) {
	if n := uint64(bits.OnesCount64(frames)); n > 0 {
		in.batch.src.counters.fdb[e].Add(n)
		in.sw.fdb.stats[e].Add(n)
	}
}

// write makes or moves the entries of the source addresses of some runs' frames, unless
// someone else is writing: their next frames will do.
func (in *Inlet) write(frames uint64) {
	b, t := &in.batch, in.sw.fdb
	if !t.mu.TryLock() {
		in.count(FDBContended, frames)
		return
	}
	for i := range b.runs[:b.nruns] {
		if r := &b.runs[i]; r.frames&frames != 0 {
			t.learn(r.srcKey, r.srcHash, b.src.fdb, b.now)
		}
	}
	t.mu.Unlock()
}

// lookup finds the destinations of all frames.
func (in *Inlet) lookup(frames []Frame) {
	b, t := &in.batch, in.sw.fdb
	last := ^hash(0)
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
		if r.dstHash != last {
			last = r.dstHash
			to = b.set.get(t.destination(r.dst, r.dstHash, b.now))
			if to != nil {
				why, ok = b.src.reaches(to, r.dst, frames[r.first].verdict.vlan)
			}
		}
		switch {
		case to == nil:
			b.unknown |= r.frames
		case !ok:
			b.drop(why, bits.OnesCount64(r.frames))
		default:
			b.assign(r.frames, to)
		}
	}
}

// reaches reports whether a frame from src to address dst, in a VLAN, may go to port to.
func (src *portView) reaches(to *portView, dst addr, vlan uint16) (why DropReason, ok bool) {
	switch {
	case to == src && src.isLocal(dst):
		return DropHost, false // sent back, it would reach the host twice
	case to == src && !src.cfg.Hairpin:
		return DropHairpin, false
	case src.cfg.Isolated && to.cfg.Isolated:
		return DropPolicy, false
	case !to.vlan.carries(vlan):
		return DropVLAN, false
	}
	return 0, true
}

// assign puts frames into the group of their destination.
func (b *batch) assign(frames uint64, to *portView) {
	g := b.groupOf[to.id]
	if g == 0 {
		b.groups[b.ngroups] = group{to: to}
		b.ngroups++
		g = uint8(b.ngroups)
		b.groupOf[to.id] = g
	}
	b.groups[g-1].frames |= frames
}

// forward transmits to each destination what goes there.
func (in *Inlet) forward(frames []Frame) {
	b := &in.batch
	if b.unknown|b.mcast|b.bcast != 0 {
		in.flood(frames)
		return
	}
	for i := range b.groups[:b.ngroups] {
		in.send(b.groups[i].to, b.groups[i].frames, frames)
	}
}

// flood transmits a batch in which some frames go to many ports. Each port gets
// them together with its unicast frames, in order.
func (in *Inlet) flood(frames []Frame) {
	b := &in.batch
	all := b.unknown | b.mcast | b.bcast
	b.sortByVLAN(all, frames)
	var reached uint64
	for _, v := range b.set.all {
		m := b.floodsTo(v)
		reached |= m
		if g := b.groupOf[v.id]; g != 0 {
			m |= b.groups[g-1].frames
		}
		if m != 0 {
			in.send(v, m, frames)
		}
	}
	b.drop(DropNoDest, bits.OnesCount64(all&^reached))
}

// sortByVLAN finds out which VLANs the flooded frames are in, mostly one.
func (b *batch) sortByVLAN(flooded uint64, frames []Frame) {
	for m := flooded; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		vlan, g := frames[i].verdict.vlan, 0
		for g < b.nvlans && b.vlans[g].vlan != vlan {
			g++
		}
		if g == b.nvlans {
			b.vlans[g] = vlanGroup{vlan: vlan}
			b.nvlans++
		}
		b.vlans[g].frames |= 1 << i
	}
}

// floodsTo returns which of the flooded frames port v gets.
func (b *batch) floodsTo(v *portView) (m uint64) {
	if !v.up || v == b.src && !v.cfg.Hairpin || v.cfg.Isolated && b.src.cfg.Isolated {
		return 0
	}
	if v.cfg.Flood {
		m |= b.unknown
	}
	if v.cfg.McastFlood {
		m |= b.mcast
	}
	if v.cfg.BcastFlood {
		m |= b.bcast
	}
	if v.vlan.trunk != nil {
		for _, g := range b.vlans[:b.nvlans] {
			if !v.vlan.carries(g.vlan) {
				m &^= g.frames
			}
		}
	}
	return m
}

// send transmits a group of frames to port v.
func (in *Inlet) send(v *portView, group uint64, frames []Frame) {
	b := &in.batch
	if !v.up {
		v.counters.Drop(DropDown, bits.OnesCount64(group))
		return
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
	if b.fits(v) {
		v.port.Transmit(out)
	} else {
		in.repair.transmit(v.port, out, v.counters)
	}
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
