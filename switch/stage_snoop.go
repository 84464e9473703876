package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// Stage snoop: keeps IP multicast from ports that do not want it. It runs only if snooping is on;
// mcast.go says how the multicast database (MDB) works, docs/layer2.md what the rules are.

// mcastView is snooping as the data plane sees it; part of a portSet.
type mcastView struct {
	table *mcastTable // nil: snooping is off
	flood bool        // frames to groups that nobody has joined are flooded
}

// An mcastSet is frames that go to the members of a group and to router ports.
type mcastSet struct {
	frames  uint64
	members *idSet // nil: none
	net     *mcastNet
}

// reportLen is how much of a report is read, in bytes of the IP packet. A full-size report fits
// that a host sends through an interface with the usual MTU.
const reportLen = 1536

// snoop takes multicast frames whose destinations are known from batch.mcast, and learns from
// reports and queries. What remains in batch.mcast is flooded: what is no IP, link-local groups,
// and everything while no querier is present.
func (in *Inlet) snoop(frames []Frame) {
	b := &in.batch
	t := b.set.mcast.table
	for m := b.mcast; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		f := &frames[i]
		at := MinFrameLen
		if f.verdict.now != noTag {
			at += vlanTagLen
		}
		mf, ok := multicastFrame(f.Head, at)
		if !ok {
			continue
		}
		k := netKey{f.verdict.vlan(), mf.group.isV6()}
		forRouters := false
		if mf.signal {
			var known bool
			if known, forRouters = in.snoopMessage(f, mf, k); known && !forRouters {
				continue
			}
		}
		net := t.net(k).Load()
		if forRouters && !net.present(b.now) || !forRouters && (!net.live(b.now) || mf.group.isLocal()) {
			continue
		}
		var members *idSet
		if !forRouters {
			g := t.find(mdbKey{mf.group, k.vlan})
			if g == nil && b.set.mcast.flood {
				continue
			}
			members = g.membersFor(f.Head, mf)
		}
		b.restrict(1<<i, members, net)
	}
}

// snoopMessage learns from a frame that may be a message between hosts and multicast routers. known
// is true if it is one; forRouters is true if only routers are to receive it.
//
// Other hosts must not see reports of the old kind, because they would not report the same group
// then (RFC 4541, section 2.1.1 (1)): not even while multicast is flooded because hosts have the
// time to answer the first query. All other messages are flooded.
func (in *Inlet) snoopMessage(f *Frame, mf mcastFrame, k netKey) (known, forRouters bool) {
	b, m := &in.batch, in.sw.mdb
	packet := in.packet(f, mf.at)
	cut := f.Len-mf.at > len(packet)
	msg := multicastMessage(packet, cut, f.Offload.Flags&HdrNeedsCsum != 0)
	switch msg.kind {
	case msgOther:
		return false, false
	case msgMalformed:
		m.count(b.src.counters, McastMalformed)
		return false, false
	}
	msg.station = addr(binary.BigEndian.Uint64(f.Head[4:]) & (1<<48 - 1))
	m.learn(b.set.mcast.table, &msg, b.src, k, b.now)
	return true, msg.kind == msgReport
}

// packet returns a private copy of the IP packet in f, or of its beginning. A report may be longer
// than Head. What is learned from the copy is about the source port alone, so it does not matter
// that the receivers may see another Body.
func (in *Inlet) packet(f *Frame, at int) []byte {
	n := copy(in.report[:], f.Head[at:])
	for _, piece := range f.Body {
		if n == len(in.report) {
			break
		}
		n += copy(in.report[n:], piece)
	}
	return in.report[:n]
}

// membersFor returns the members of g, which may be nil, that want a frame; nil: none.
func (g *mcastGroup) membersFor(head []byte, mf mcastFrame) *idSet {
	switch {
	case g == nil:
		return nil
	case g.sources == nil:
		return &g.ports
	}
	return g.wantedFrom(mf.source(head))
}

// restrict takes frames from those that are flooded. They go to members and to routers.
func (b *batch) restrict(frames uint64, members *idSet, net *mcastNet) {
	b.mcast &^= frames
	b.snooped |= frames
	for i := range b.sets[:b.nsets] {
		if s := &b.sets[i]; s.members == members && s.net == net {
			s.frames |= frames
			return
		}
	}
	b.sets[b.nsets] = mcastSet{frames, members, net}
	b.nsets++
}

// snoopedTo returns the frames in b.sets that port v wants.
func (b *batch) snoopedTo(v *portView) (m uint64) {
	for i := range b.sets[:b.nsets] {
		s := &b.sets[i]
		if v.cfg.McastRouter == McastRouterAlways || s.net.routers.has(v.id) ||
			s.members != nil && s.members.has(v.id) {
			m |= s.frames
		}
	}
	return m
}
