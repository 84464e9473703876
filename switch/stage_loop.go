package vswitch

import (
	"math"
	"math/bits"
)

// Stage loop: sends probes when there may be a loop, and takes the probes of the switch that come
// back from among the frames. It runs only for batches with flooded frames, or with a source
// address of another port, and only if loop detection is on; loop.go says how that works.

// loopView is loop detection as the data plane sees it; part of a portSet.
type loopView struct {
	on     bool
	probed []*portView // sorted: uplinks and host ports come first
	outer  int         // the number of these
}

const (
	// floodsPerProbe is the number of frames from an inlet that are flooded in one second for
	// probes to be sent.
	floodsPerProbe = 64

	// guestsPerProbe is to how many guests, in turn, probes are sent at a time. Uplinks and host
	// ports, of which there are few, are sent one each time.
	guestsPerProbe = 4
)

// A loopWatch is an inlet's part in loop detection.
type loopWatch struct {
	second uint32 // in which floods were counted
	floods int
	turn   int // the guest that is probed next
	room   probeRoom
}

// oneProbe is what probes take from a budget.
var oneProbe = []uint32{1}

// watchLoops is the stage for a batch whose destinations are known.
func (in *Inlet) watchLoops(frames []Frame) {
	b := &in.batch
	if b.mcast != 0 {
		b.mcast &^= in.catchProbes(frames)
	}
	if b.clash.found {
		in.probe(probeMoves, b.clash.vlan, b.set.get(b.clash.other))
	}
	flooded := b.flooded()
	if flooded == 0 {
		return
	}
	w := &in.loop
	if w.second != b.now {
		w.second, w.floods = b.now, 0
	}
	if w.floods += bits.OnesCount64(flooded); w.floods >= floodsPerProbe {
		w.floods = 0
		last := bits.Len64(flooded) - 1
		if !in.probe(probeFloods, frames[last].verdict.vlan(), nil) {
			w.floods = math.MinInt // no need to look at the clock again in this second
		}
	}
}

// A clash is that a source address of a batch is known behind another port.
type clash struct {
	found bool
	vlan  uint16
	other portID
}

// noteClash stores that the source address of a run is known behind another port. It is called
// before the address moves.
func (in *Inlet) noteClash(r *run) {
	b, t := &in.batch, in.sw.fdb
	if b.set.loops.on {
		b.clash = clash{true, r.srcKey.vlan(), t.destination(r.srcKey.addr(), r.srcHash, b.now)}
	}
}

// probe sends probes in a VLAN because of frames from the source port, if the port's budget for
// that cause allows it: to the source port, to another one, which may be nil, and to some of those
// to which frames from the source port are flooded. A loop through which frames pass in both
// directions contains the source port. If they pass in one direction only, it begins at any port.
// It reports false if the budget is empty.
func (in *Inlet) probe(cause probeCause, vlan uint16, other *portView) bool {
	b := &in.batch
	src := b.src
	if !src.att.loop.affords(cause, in.nanotime()) {
		return false
	}
	in.sendProbe(src, vlan)
	if other != nil && other != src {
		in.probeAlong(other, vlan)
	}
	ports := b.set.loops.probed
	outer := ports[:b.set.loops.outer]
	for _, v := range outer {
		if v != src && v != other {
			in.probeAlong(v, vlan)
		}
	}
	guests := ports[len(outer):]
	for n, seen := 0, 0; n < guestsPerProbe && seen < len(guests); seen++ {
		in.loop.turn = (in.loop.turn + 1) % len(guests)
		if v := guests[in.loop.turn]; v != src && v != other && in.probeAlong(v, vlan) {
			n++
		}
	}
	return true
}

// probeAlong sends a probe to a port because of frames from another, if frames can go from one to
// the other, and reports whether they can.
func (in *Inlet) probeAlong(v *portView, vlan uint16) bool {
	src := in.batch.src
	if !v.up || !v.cfg.LoopDetection || !v.vlan.carries(vlan) || src.parts(v) {
		return false
	}
	if v.att.loop.affords(probeOthers, in.nanotime()) {
		in.sendProbe(v, vlan)
	}
	return true
}

// sendProbe sends a probe to a port, also to one that is blocked. Neither its filter nor its
// mirrors see the probe: a station that gets the probe of another port could send it (loop.go).
func (in *Inlet) sendProbe(v *portView, vlan uint16) {
	floods := v.cfg.Flood || v.cfg.McastFlood || v.cfg.BcastFlood
	if !v.up && !v.blocked || v.mirror.output || !v.cfg.LoopDetection || !floods || !v.vlan.carries(vlan) {
		return
	}
	s := in.sw
	outer := makeTag(tpidDot1Q, vlan)
	p := probe{port: v.id, vlan: vlan, number: v.att.loop.number, sent: in.batch.now}
	b := in.ownFrames().begin(verdict{tag: outer}, addrProbe, s.origin.address.addr(), etherExperimental, probeLen)
	s.prober.write(b, &p, &in.loop.room)
	v.count(LoopProbes)
	in.sendOwn(stageLoop, v, 1)
}

// probeAttached sends a probe to a port, if that is still attached.
func (in *Inlet) probeAttached(a *Attachment, vlan uint16) {
	if v := in.batch.set.get(a.id); v != nil && v.att == a {
		in.sendProbe(v, vlan)
	}
}

// isProbe reports whether the frames of a run have the addresses of the switch's probes.
func (in *Inlet) isProbe(r *run) bool {
	return r.dst == addrProbe && r.srcKey.addr() == in.sw.origin.address.addr() && in.batch.set.loops.on
}

// catchProbes takes the switch's own probes out of the batch, and returns them. If the source port
// has a filter, guards or rates, that is before these, which may drop the probes of a loop in which
// other frames circulate, such as those from the guest's own address.
func (in *Inlet) catchProbes(frames []Frame) (caught uint64) {
	b := &in.batch
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if !in.isProbe(r) {
			continue
		}
		caught |= r.frames
		for m := r.frames; m != 0; m &= m - 1 {
			in.probeBack(&frames[bits.TrailingZeros64(m)])
		}
	}
	if caught != 0 {
		in.drop(stageLoop, DropLoopProbe, b.src, caught)
		b.discard(caught)
	}
	return caught
}

// probeBack handles a frame that looks like a probe of the switch.
func (in *Inlet) probeBack(f *Frame) {
	b := &in.batch
	at := macsLen
	if f.verdict.now != noTag {
		at += vlanTagLen
	}
	p, ok := in.sw.prober.read(f.Head, at, &in.loop.room)
	from := b.set.get(p.port)
	if !ok || from == nil || from.att.loop.number != p.number || p.vlan != f.verdict.vlan() ||
		int32(b.now-p.sent) > probeLife || !in.sw.looped(from, b.src, p.vlan, b.now) {
		b.src.count(LoopIgnored)
	}
}

// admitBlocked drops the frames from a port that is blocked. Probes are seen through the block.
func (in *Inlet) admitBlocked(frames []Frame) {
	b := &in.batch
	if b.set.observed {
		b.frames = frames
		in.tapReceived(frames)
	}
	in.classify(frames)
	in.catchProbes(frames)
	if left := b.remaining(); left != 0 {
		in.drop(stageAdmit, DropLoopBlocked, b.src, left)
	}
}
