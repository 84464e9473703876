package netport

import (
	"cmp"
	"maps"
	"slices"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// This file shows the state of a port to people. Reading a ring takes its lock for a few loads,
// like a batch; a fault in guest memory ends the guest's session, as it would in the next batch.

// A Status is the state of a port's front-end and its rings.
type Status struct {
	Connected bool // to a front-end; if not, the rest is zero
	vhostuser.State
	Offered         uint64 // virtio features ...
	OfferedProtocol uint64 // ... and protocol features
	Channel         vhostuser.ChannelState
	Control         *Control // nil: the front-end has not acknowledged a control queue
	Rings           []Ring   // those that have a size, sorted by index
}

// Ring is the state of one ring. While it is not running the fields after Packed are zero.
type Ring struct {
	vhostuser.Vring // as the front-end has set it up; Base is the current position
	Index           int
	Packed          bool

	// In a packed ring these are indices of descriptors, with the wrap counter in bit 15.
	LastAvail uint16 // next one to pop
	UsedIdx   uint16 // next one to mark used

	InFlight  int    // popped and not used: chains, in a packed ring descriptors
	Tracked   bool   // InFlight is recorded in memory for descriptors in flight
	Kicks     uint64 // number of kicks by the guest
	Woken     bool   // there was a kick after the start of the ring, not only at the start
	Calls     uint64 // number of signals to the guest
	Polling   bool   // the ring is polled, or read when there is a frame: no kicks are needed
	EventIdx  bool
	BadChains uint64 // invalid chains
	Err       error  // why the ring is broken, or nil

	Inspected bool // the guest's memory could be read; its contents follow
	virtqueue.Inspection
}

// Status returns the state of the port.
func (p *Port) Status() Status {
	var st Status
	if s := p.session.Load(); s != nil {
		st.Connected, st.State, st.Channel = true, s.Snapshot(), s.Channel()
		st.Offered, st.OfferedProtocol = s.Offered()
		st.Control = p.Control()
	}
	rings := make(map[int]Ring)
	for i, v := range st.Vrings {
		if v.Size > 0 {
			rings[i] = Ring{Index: i, Vring: v, Packed: st.Features&(1<<virtqueue.FeatureRingPacked) != 0}
		}
	}
	for _, r := range p.Rings() {
		if r.Index < len(st.Vrings) {
			base, running, size := r.Base, r.Running, r.Size
			r.Vring = st.Vrings[r.Index]
			r.Base, r.Running, r.Size = base, running, size
		}
		rings[r.Index] = r
	}
	st.Rings = slices.SortedFunc(maps.Values(rings), func(a, b Ring) int { return cmp.Compare(a.Index, b.Index) })
	return st
}

// Rings returns the state of all rings that are running, sorted by index.
func (p *Port) Rings() []Ring {
	var rs []Ring
	rx, tx := p.queues()
	for i := range rx {
		for _, q := range []interface{ status() (Ring, bool) }{rx[i], tx[i]} {
			if r, ok := q.status(); ok {
				rs = append(rs, r)
			}
		}
	}
	if r, ok := p.controlRing(); ok {
		rs = append(rs, r)
	}
	return rs
}

func (q *rxQueue) status() (r Ring, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return Ring{}, false
	}
	r.Index, r.Enabled, r.Polling, r.BadChains = q.index, q.enabled, true, q.badChains
	q.port.inspect(&r, q.vq)
	return r, true
}

func (q *txQueue) status() (r Ring, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return Ring{}, false
	}
	r.Index, r.Enabled, r.Polling, r.BadChains = q.index, q.enabled, q.polling, q.badChains
	r.Kicks, r.Woken = q.kicks, q.woken
	q.port.inspect(&r, q.vq)
	return r, true
}

// inspect describes a queue. The caller holds its lock.
func (p *Port) inspect(r *Ring, vq *virtqueue.Queue) {
	cfg := vq.Config()
	r.Running = true
	r.Size = cfg.Size
	r.Base = vq.Base()
	r.Packed = cfg.Features&(1<<virtqueue.FeatureRingPacked) != 0
	r.EventIdx = cfg.Features&(1<<virtqueue.FeatureEventIdx) != 0
	r.LastAvail, r.UsedIdx = vq.LastAvail(), vq.UsedIdx()
	r.InFlight, r.Tracked = vq.InFlight(), vq.Tracked()
	r.Calls, r.Err = vq.Calls(), vq.Err()
	p.look(func() { r.Inspection, r.Inspected = vq.Inspect() })
}

// look calls f, which reads a ring, unless the session is about to end. The caller holds the ring's
// lock.
func (p *Port) look(f func()) {
	if p.failed.Load() {
		return
	}
	defer func() {
		if f := recover(); f != nil {
			if addr, ok := faultAddr(f); !ok || !p.handleRingFault(addr) {
				panic(f) // a bug in vswitchd
			}
		}
	}()
	defer setPanicOnFault()()
	f()
}

// backlogLimit is the number of descriptors of a packed ring that Backlog looks at.
const backlogLimit = 1024

// Backlog returns how many frames of the guest wait in its transmitqs, and how many buffers are
// free in the receiveqs that it receives on: all that the rings hold, or of a packed ring those
// among the next 1024 descriptors.
func (p *Port) Backlog() (frames, buffers int) {
	rx, tx := p.queues()
	for i := range rx {
		buffers += rx[i].waiting()
		frames += tx[i].waiting()
	}
	return frames, buffers
}

func (q *rxQueue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.active() {
		return 0
	}
	return q.port.waiting(q.vq)
}

func (q *txQueue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return 0
	}
	return q.port.waiting(q.vq)
}

// waiting returns the number of chains that wait in a queue. The caller holds its lock.
func (p *Port) waiting(vq *virtqueue.Queue) (n int) {
	p.look(func() { n, _ = vq.Waiting(backlogLimit) })
	return n
}
