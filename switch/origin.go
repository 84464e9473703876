package vswitch

import (
	"crypto/rand"
	"runtime/debug"
	"sync"
)

// An origin sends frames that the switch itself makes outside of Deliver, such as queries of
// multicast snooping; see ownFrames for those that a Deliver makes. Queries go through the last
// stages of the pipeline alone: send, repair, transmit, and mirrors of what is sent to a port.
type origin struct {
	address MAC // the source of these frames

	// mu is held while a frame is sent. It ranks before the locks that a Transmit takes, and after
	// none: the caller holds no lock of the switch.
	mu    sync.Mutex
	in    *Inlet // nil until the first frame
	frame [1]Frame
	room  [Headroom + HeadLen]byte
}

// randomAddress returns an address for a switch: unicast and locally administered (IEEE 802-2014,
// section 8.2). It begins with FE, so that the IPv6 link-local address that is made from it is
// higher than those that are made from other addresses.
func randomAddress() (m MAC) {
	rand.Read(m[:]) // never fails
	m[0] = 0xfe
	return m
}

// originate sends a frame, which has no tag, to all ports in a VLAN for which wanted returns true.
// The caller holds no lock of the switch.
func (s *Switch) originate(b []byte, vlan uint16, wanted func(*portView) bool) {
	s.fromSwitch(vlan, func(in *Inlet) {
		o, batch := &s.origin, &in.batch
		batch.longest = len(b)
		f := &o.frame[0]
		n := copy(o.room[Headroom:], b)
		*f = Frame{Room: o.room[:], Head: o.room[Headroom : Headroom+n], Len: len(b)}
		if n < len(b) {
			f.Body = [][]byte{b[n:]}
		}
		f.verdict, _ = batch.src.vlan.untagged()
		batch.frames = o.frame[:]
		for _, v := range batch.set.all {
			if v.up && !v.mirror.output && v.vlan.carries(vlan) && wanted(v) {
				in.send(v, 1, o.frame[:])
			}
		}
	})
}

// fromSwitch calls send with an inlet that stands for the switch as a source of frames in a VLAN,
// as if inside a Deliver. The caller holds no lock of the switch.
func (s *Switch) fromSwitch(vlan uint16, send func(*Inlet)) {
	o := &s.origin
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.in == nil {
		o.in = &Inlet{sw: s, counters: new(Counters)}
		s.mu.Lock()
		s.inlets[o.in] = struct{}{}
		s.mu.Unlock()
	}
	// The memory of a guest may vanish while its port copies the frame; the port handles that.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	in := o.in
	in.epoch.enter()
	defer in.leave()
	batch := &in.batch
	batch.reset()
	batch.set, batch.src, batch.now = s.set.Load(), sourceIn(vlan), s.fdb.now()
	batch.offloads = false
	in.mirrorer.reset()
	in.filterer.reset()
	send(in)
}

// sourceIn returns a port that takes the place of the source port of frames that the switch sends
// in a VLAN.
func sourceIn(vlan uint16) *portView {
	c := PortConfig{Tag: vlan, VLANMode: VLANAccess}
	if vlan == 0 {
		c.VLANMode = VLANTrunk
	}
	rule, _ := makeVLANRule(&c) // always valid
	return &portView{cfg: c, vlan: rule}
}
