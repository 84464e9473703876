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

	// Frames that were not dropped, by where they go. A frame is in one of
	// these, until lookup moves it from unicast to a group or to unknown.
	unicast, unknown, mcast, bcast uint64

	srcKey  [MaxBatch]fdbKey
	srcHash [MaxBatch]hash
	dstHash [MaxBatch]hash

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
	b.ngroups, b.nvlans = 0, 0
	b.unicast, b.unknown, b.mcast, b.bcast = 0, 0, 0, 0
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
// have the same addresses: what has been worked out is kept for these.
func (in *Inlet) classify(frames []Frame) {
	b := &in.batch
	received(b.src.counters, frames)
	t, rule := in.sw.fdb, &b.src.vlan
	var touched uint64
	lastSrc, lastDst := noKey, noKey
	var srcHash, dstHash hash
	untagged, carried := rule.untagged()
	for i := range frames {
		f := &frames[i]
		if len(f.Head) < MinFrameLen {
			b.drop(DropTooShort, 1)
			continue
		}
		dst := addr(binary.BigEndian.Uint64(f.Head) >> 16)
		srcType := binary.BigEndian.Uint64(f.Head[6:]) // the type, or a tag's, is behind the address
		src, etype := addr(srcType>>16), uint16(srcType)
		if r, ok := fit(f, dst, src); !ok {
			b.drop(r, 1)
			continue
		}
		ok, short := carried, false
		if isTag(etype) {
			ok, short = rule.classify(f, etype)
		} else {
			f.verdict = untagged
		}
		if short {
			b.drop(DropTooShort, 1)
			continue
		} else if !ok {
			b.drop(DropVLAN, 1)
			continue
		}
		bit := uint64(1) << i
		if k := makeKey(src, f.verdict.vlan); k != lastSrc {
			lastSrc, srcHash = k, t.perm.hash(k)
			touched += t.touch(srcHash)
		}
		b.srcKey[i], b.srcHash[i] = lastSrc, srcHash
		switch {
		case dst == addrBroadcast:
			b.bcast |= bit
		case dst&addrGroup != 0:
			b.mcast |= bit
		default:
			b.unicast |= bit
			if k := makeKey(dst, f.verdict.vlan); k != lastDst {
				lastDst, dstHash = k, t.perm.hash(k)
				touched += t.touch(dstHash)
			}
			b.dstHash[i] = dstHash
		}
	}
	b.touched = touched
}

// fit reports whether a frame may be forwarded at all, as far as that can be
// told without looking anything up.
func fit(f *Frame, dst, src addr) (DropReason, bool) {
	switch {
	case f.Len > MaxFrameLen:
		return DropTooLong, false
	case dst&addrReservedMask == addrReserved:
		return DropReserved, false
	case src&addrGroup != 0 || src == 0:
		return DropBadSource, false
	case f.Offload != Offload{} && !checkOffload(f):
		return DropBadOffload, false
	}
	return 0, true
}

// learn brings the FDB up to date with the batch's source addresses.
func (in *Inlet) learn() {
	b, t := &in.batch, in.sw.fdb
	var fresh, moved uint64
	last, how, claims := ^hash(0), seenHere, 0
	for m := b.unicast | b.mcast | b.bcast; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if h := b.srcHash[i]; h != last {
			last, how = h, t.seen(h, b.src.id, b.now)
			switch how {
			case seenNew:
				fresh |= 1 << i
			case seenElsewhere:
				moved |= 1 << i
			}
		}
		if how == seenStatic {
			claims++
		}
	}
	if claims > 0 {
		t.stats.staticClaims.Add(uint64(claims))
	}
	if fresh != 0 && !b.src.fdb.mayLearn(b.now) {
		t.stats.limited.Add(uint64(bits.OnesCount64(fresh)))
		fresh = 0
	}
	if fresh|moved != 0 {
		in.write(fresh | moved)
	}
}

// write makes or moves the entries of some source addresses, unless someone
// else is writing: their next frames will do.
func (in *Inlet) write(frames uint64) {
	b, t := &in.batch, in.sw.fdb
	if !t.mu.TryLock() {
		t.stats.contended.Add(uint64(bits.OnesCount64(frames)))
		return
	}
	for m := frames; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		t.learn(b.srcKey[i], b.srcHash[i], b.src.fdb, b.now)
	}
	t.mu.Unlock()
}

// lookup finds the destinations of the unicast frames.
func (in *Inlet) lookup(frames []Frame) {
	b, t := &in.batch, in.sw.fdb
	last := ^hash(0)
	var to *portView
	var why DropReason
	var ok bool
	for m := b.unicast; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if h := b.dstHash[i]; h != last {
			last = h
			to = b.set.get(t.destination(h, b.now))
			if to != nil {
				why, ok = b.src.reaches(to, frames[i].verdict.vlan)
			}
		}
		switch {
		case to == nil:
			b.unknown |= 1 << i
		case !ok:
			b.drop(why, 1)
		default:
			b.assign(i, to)
		}
	}
}

// reaches reports whether a unicast frame from src in a VLAN may go to port to.
func (src *portView) reaches(to *portView, vlan uint16) (why DropReason, ok bool) {
	switch {
	case to == src && !src.cfg.Hairpin:
		return DropHairpin, false
	case src.cfg.Isolated && to.cfg.Isolated:
		return DropPolicy, false
	case !to.vlan.carries(vlan):
		return DropVLAN, false
	}
	return 0, true
}

// assign puts frame i into the group of its destination.
func (b *batch) assign(i int, to *portView) {
	g := b.groupOf[to.id]
	if g == 0 {
		b.groups[b.ngroups] = group{to: to}
		b.ngroups++
		g = uint8(b.ngroups)
		b.groupOf[to.id] = g
	}
	b.groups[g-1].frames |= 1 << i
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
	out := b.out[:0]
	for m := group; m != 0; m &= m - 1 {
		out = append(out, &frames[bits.TrailingZeros64(m)])
	}
	if b.shaped || !v.vlan.plain || !b.src.vlan.plain {
		for _, f := range out {
			if v.vlan.shape(f) {
				b.shaped = true
			}
		}
	}
	in.repair.transmit(v.port, out, v.counters)
}
