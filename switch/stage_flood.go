package vswitch

import "math/bits"

// Stage flood: finds the ports to which frames without a single destination go.

// flood sends a batch in which some frames go to many ports. Each port gets flooded frames together
// with its unicast frames, in order.
func (in *Inlet) flood(frames []Frame) {
	b := &in.batch
	all := b.flooded()
	b.sortByVLAN(all, frames)
	var reached uint64
	copies := 0
	for _, v := range b.set.all {
		m := b.floodsTo(v)
		reached |= m
		copies += bits.OnesCount64(m)
		if g := b.groupOf[v.id]; g != 0 {
			m |= b.groups[g-1].frames
		}
		if m != 0 {
			in.send(v, m, frames)
		}
	}
	in.flooding = copies >= floodingFactor*len(frames)
	if lost := all &^ reached &^ b.answered; lost != 0 {
		if known := lost & b.known; known != 0 {
			in.drop(stageFlood, DropNeighbor, b.src, known)
			lost &^= known
		}
		if unwanted := lost & b.snooped; unwanted != 0 {
			in.drop(stageFlood, DropNoMember, b.src, unwanted)
			lost &^= unwanted
		}
		if lost != 0 {
			in.drop(stageFlood, DropNoDest, b.src, lost)
		}
	}
}

// floodingFactor is the number of copies for each frame of a batch from which on the batch counts
// as a flood; see Inlet.Flooding.
const floodingFactor = 8

// Flooding reports whether the last Deliver has made many copies of most of its frames, so that it
// has taken much longer than others.
func (in *Inlet) Flooding() bool { return in.flooding }

// sortByVLAN groups the flooded frames by VLAN; usually there is only one.
func (b *batch) sortByVLAN(flooded uint64, frames []Frame) {
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		m := r.frames & flooded
		if m == 0 {
			continue
		}
		v, g := &frames[r.first].verdict, 0
		for g < b.nvlans && (b.vlans[g].vlan != v.vlan() || b.vlans[g].cvlan != v.cvlan()) {
			g++
		}
		if g == b.nvlans {
			b.vlans[g] = vlanGroup{vlan: v.vlan(), cvlan: v.cvlan()}
			b.nvlans++
		}
		b.vlans[g].frames |= m
	}
}

// floodsTo returns the flooded frames that go to port v.
func (b *batch) floodsTo(v *portView) (m uint64) {
	if !v.up || v.mirror.output || v == b.src && !v.cfg.Hairpin || b.src.parts(v) {
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
	if b.nsets > 0 {
		m |= b.snoopedTo(v)
	}
	if b.known != 0 && v.cfg.NeighSuppress {
		m &^= b.known
	}
	if !v.vlan.all {
		for _, g := range b.vlans[:b.nvlans] {
			if !v.vlan.carries(g.vlan) || !v.vlan.carriesCustomer(g.cvlan) {
				m &^= g.frames
			}
		}
	}
	return m
}
