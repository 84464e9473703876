package netport

import (
	"sync"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// A txQueue is a transmitq: where the guest's frames come from. It is a Source,
// polled by one worker.
//
// mu guards all below it. It is held for one batch, and while it is, the switch
// calls other ports' Transmit.
type txQueue struct {
	port  *Port
	index int
	kick  int // set while the worker does not have the source

	mu      sync.Mutex
	vq      *virtqueue.Queue // nil: not running
	inlet   *vswitch.Inlet
	enabled bool
	polling bool
	hdrLen  int
	mask    uint64 // see offloadMask
	bufs    *txBuffers
	armed   bool // Arm has left the source to its eventfd: Disarm means that it was kicked
	kicks   uint64
	woken   bool      // by a kick that did not belong to the start ...
	started time.Time // ... of the ring
	calls   uint64    // of queues before vq

	badChains uint64

	step txStep
	room int // bytes of frames that the batch may still have
}

// A txStep is what Poll is about to do, for when a fault interrupts it.
type txStep uint8

const (
	atRing     txStep = iota // access the ring, or nothing
	parsing                  // make frames of chains, none of which has been sent
	delivering               // have the switch send the frames
)

// txBuffers is the private memory of one batch.
type txBuffers struct {
	batch  *virtqueue.Batch
	frames [vswitch.MaxBatch]vswitch.Frame
	heads  [vswitch.MaxBatch]headRoom
}

// A headRoom is a frame's Room: whole cache lines.
type headRoom [(vswitch.Headroom + vswitch.HeadMax + 63) / 64 * 64]byte

// head returns the first n bytes of Head, of which there are at most HeadMax.
func (r *headRoom) head(n int) []byte { return r[vswitch.Headroom : vswitch.Headroom+n] }

func newTxBuffers() *txBuffers {
	b := &txBuffers{batch: virtqueue.NewBatch(vswitch.MaxBatch)}
	for i := range b.frames {
		b.frames[i].Room = b.heads[i][:vswitch.Headroom+vswitch.HeadMax]
	}
	return b
}

func (q *txQueue) start(r vhostuser.Ring, features uint64) error {
	q.mu.Lock()
	q.vq, q.enabled, q.kick = r.Queue, r.Enabled, r.Kick
	q.hdrLen, q.mask = headerLenFor(features), offloadMask(features)
	q.vq.DriverSends()
	q.vq.LimitPieces(maxPieces)
	q.woken, q.started = false, time.Now()
	q.bufs = newTxBuffers()
	q.inlet = q.port.attachment.NewInlet()
	q.mu.Unlock()
	if err := q.port.cfg.Start(q); err != nil {
		q.clear()
		return err
	}
	return nil
}

func (q *txQueue) enable(on bool) {
	if !on {
		q.drain()
	}
	q.mu.Lock()
	q.enabled = on
	q.mu.Unlock()
}

// drain sends what the guest has put into the queue so far, on behalf of the worker: a
// guest that disables a queue expects the frames from before to arrive.
func (q *txQueue) drain() {
	defer setPanicOnFault()()
	for left := virtqueue.MaxSize; left > 0; {
		n := q.Poll()
		if n == 0 {
			return
		}
		left -= n
	}
}

func (q *txQueue) stop() {
	q.port.cfg.Stop(q)
	q.clear()
}

func (q *txQueue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return
	}
	q.calls += q.vq.Calls()
	q.inlet.Close()
	q.vq, q.bufs, q.inlet, q.kick, q.armed = nil, nil, nil, -1, false
}

func (q *txQueue) totals() (kicks, calls uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls = q.calls
	if q.vq != nil {
		calls += q.vq.Calls()
	}
	return q.kicks, calls
}

// FD implements Source.
func (q *txQueue) FD() int { return q.kick }

// Arm implements Source.
func (q *txQueue) Arm() (pending bool) {
	q.mu.Lock()
	defer q.leave()
	q.polling = false
	pending = q.usable() && q.vq.Arm()
	q.armed = !pending
	return pending
}

// Disarm implements Source.
func (q *txQueue) Disarm() {
	q.mu.Lock()
	defer q.leave()
	q.polling = true
	if q.armed {
		q.armed = false
		q.kicks++
		if !q.woken {
			q.woken = time.Since(q.started) > startKick
		}
	}
	if q.usable() {
		q.vq.Disarm()
	}
}

// startKick is how long after a ring's start a kick may be the front-end's, which "should" kick
// a ring that it starts, rather than a driver's.
const startKick = 100 * time.Millisecond

// usable reports whether the ring may be touched.
func (q *txQueue) usable() bool { return q.vq != nil && !q.port.failed.Load() }

// leave ends a critical section, also one that was left by a fault in guest memory. It has to be
// deferred itself.
func (q *txQueue) leave() {
	defer q.mu.Unlock()
	if r := recover(); r != nil {
		q.interrupted(r)
	}
}

// interrupted deals with a fault. At an access to the ring, or to memory that has gone, the session
// ends. If a huge page is absent, a batch of which nothing has been sent is taken again by the next
// Poll.
func (q *txQueue) interrupted(r any) {
	addr, ok := faultAddr(r)
	blame, step := q.port.Blame, q.step
	if step == atRing {
		blame = q.port.blameRing
	}
	q.step = atRing
	switch {
	case !ok || !blame(addr):
		panic(r) // a bug of ours
	case q.port.failed.Load():
	case step == parsing:
		q.vq.Unpop(q.bufs.batch, len(q.bufs.batch.Chains))
	default:
		q.giveUp(addr)
	}
}

// giveUp drops a batch some of which may have been sent.
func (q *txQueue) giveUp(addr uintptr) {
	defer func() {
		if recover() != nil {
			q.port.blameRing(addr)
		}
	}()
	b := q.bufs.batch
	q.port.counters.Drop(vswitch.DropPageAbsent, len(b.Chains))
	q.vq.CompleteAll(b)
	q.vq.Flush()
}

// faultAddr returns the address of a memory fault that was recovered.
func faultAddr(r any) (uintptr, bool) {
	f, ok := r.(interface{ Addr() uintptr })
	if !ok {
		return 0, false
	}
	return f.Addr(), true
}
