package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// Stage neigh: answers ARP requests and neighbor solicitations for stations that are known, and
// keeps them from ports with PortConfig.NeighSuppress. It runs only while some port has that flag;
// neigh.go says how the neighbor table works, docs/layer2.md what the rules are.

// suppressNeighbors learns from the messages of a batch, and answers those that are flooded and can
// be answered. batch.known gets the requests that ports with NeighSuppress are not to be sent.
func (in *Inlet) suppressNeighbors(frames []Frame) {
	b := &in.batch
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		at := MinFrameLen
		if frames[r.first].verdict.now != noTag {
			at += vlanTagLen
		}
		switch binary.BigEndian.Uint16(frames[r.first].Head[at-2:]) {
		case etherARP:
			for m := r.frames; m != 0; m &= m - 1 {
				in.seeARP(bits.TrailingZeros64(m), at, frames)
			}
		case etherIPv6:
			for m := r.frames; m != 0; m &= m - 1 {
				in.seeND(bits.TrailingZeros64(m), at, frames)
			}
		}
	}
	if in.own != nil && in.own.n > 0 {
		in.reply()
	}
	if n := bits.OnesCount64(b.known); n > 0 {
		b.src.counters.neigh[NeighSuppressed].Add(uint64(n))
	}
}

// seeARP handles the ARP packet at an offset of the i-th frame.
func (in *Inlet) seeARP(i, at int, frames []Frame) {
	b, f := &in.batch, &frames[i]
	a, r := parseARP(f, at)
	if r != neighWhole {
		in.countUnread(r)
		return
	}
	in.learnNeighbor(a.claim(), f.verdict.vlan())
	// An announcement asks for nothing (RFC 5227, section 2.3). Everybody has to see it.
	if a.op != arpRequest || a.sender == a.target || b.bcast>>i&1 == 0 {
		return
	}
	if mac, _, answer := in.resolve(i, mapped4(a.target), a.mac, &f.verdict); answer {
		in.ownFrames().answerARP(f, &a, mac)
	}
}

// countUnread counts a packet that was not read, if it was a message that should have been.
func (in *Inlet) countUnread(r readability) {
	if r == neighBad {
		in.batch.src.counters.neigh[NeighMalformed].Add(1)
	}
}

// seeND handles the IPv6 packet at an offset of the i-th frame.
func (in *Inlet) seeND(i, at int, frames []Frame) {
	b, f := &in.batch, &frames[i]
	m, r := parseND(f, at)
	if r != neighWhole {
		in.countUnread(r)
		return
	}
	in.learnNeighbor(m.claim(), f.verdict.vlan())
	if m.kind != neighborSolicit || b.mcast>>i&1 == 0 {
		return
	}
	from := m.link
	if from == 0 {
		from = addrAt(f.Head[6:])
	}
	if mac, router, answer := in.resolve(i, m.target, from, &f.verdict); answer {
		in.ownFrames().answerND(f, &m, mac, router)
	}
}

// learnNeighbor learns from a message of the source port, if the FDB says that the address is
// behind the port, and no configured entry says something else.
func (in *Inlet) learnNeighbor(c claim, vlan uint16) {
	b, t := &in.batch, in.sw.fdb
	if c.mac != 0 && b.set.neigh.find(neighKey{c.ip, vlan}) == nil &&
		t.destination(c.mac, t.perm.hash(makeKey(c.mac, vlan)), b.now) == b.src.id {
		b.set.neigh.table.learn(c, vlan, b.src, b.now)
	}
}

// resolve resolves ip for the i-th frame, a request with a verdict from the station with address
// from. If it is known who has the address, the frame is added to batch.known. answer is true, and
// the frame is in batch.answered, if the switch is to answer: if the owner, with address mac, is
// behind a port that will not be sent the request, but could have been reached otherwise.
func (in *Inlet) resolve(i int, ip ipv6, from addr, v *verdict) (mac addr, router, answer bool) {
	b, t, vlan := &in.batch, in.sw.fdb, v.vlan()
	if k := b.set.neigh.find(neighKey{ip, vlan}); k != nil {
		mac, router = k.mac, k.router
	} else if n := b.set.neigh.table.find(neighKey{ip, vlan}); n != nil && n.usable(b.now) {
		mac, router = n.mac, n.router
	} else {
		return 0, false, false
	}
	owner := b.set.get(t.destination(mac, t.perm.hash(makeKey(mac, vlan)), b.now))
	if owner == nil || !owner.up || owner.mirror.output {
		return 0, false, false
	}
	b.known |= 1 << i
	if mac == from || !owner.cfg.NeighSuppress {
		return mac, router, false
	}
	if _, answer = b.src.admitted(owner, mac, v); answer {
		b.answered |= 1 << i
	}
	return mac, router, answer
}

// reply sends the replies to the source port. For filters and mirrors, the replies are a batch by
// themselves.
func (in *Inlet) reply() {
	v, n := in.batch.src, in.own.n
	v.counters.neigh[NeighReplies].Add(uint64(n))
	in.filterer.reset()
	group := ^uint64(0) >> (MaxBatch - n)
	if v.egressFilter != nil {
		group &^= in.filterReplies(v, group)
	}
	group, lost := in.sendOwn(stageNeigh, v, group)
	if v.observed {
		in.observeReplies(v, group, lost)
	}
	in.filterer.reset()
}

// filterReplies returns those of a set of replies that the egress filter of port v does not accept.
func (in *Inlet) filterReplies(v *portView, set uint64) (lost uint64) {
	lost = in.filter(stageEgressFilter, v.egressFilter, nil, set, in.own.frames[:])
	if n := bits.OnesCount64(lost); n > 0 {
		in.record(drop{at: stageNeigh, why: DropFilter, port: v, n: n})
	}
	return lost
}

// observeReplies shows a set of replies, which went to port v, to its mirrors and taps.
func (in *Inlet) observeReplies(v *portView, set, lost uint64) {
	frames := in.own.frames[:]
	in.tapSent(Place{Port: v.cfg.Name, Out: true, Reply: true}, v, set&^lost, frames)
	if v.mirror.dst == 0 {
		return
	}
	if in.mirrorer == nil {
		in.mirrorer = new(mirrorer)
	}
	m := in.mirrorer
	done, filtered := m.done, m.filtered
	m.done, m.filtered = [MaxMirrors]uint64{}, [MaxMirrors]uint64{}
	m.replies = true
	in.mirror(v.mirror.dst, set, frames)
	m.done, m.filtered, m.replies = done, filtered, false
}
