package netport

import (
	"sync"
	"sync/atomic"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/virtqueue"

	"golang.org/x/sys/cpu"
)

// A txQueue is a transmitq, from which the guest's frames come. It is a Source, polled by one
// worker.
//
// mu guards all fields below it. It is held for one batch, during which the switch calls other
// ports' Transmit.
type txQueue struct {
	port  *Port
	index int
	kick  int // set only while the worker does not have the source

	mu       sync.Mutex
	vq       *virtqueue.Queue // nil: not running
	inlet    *vswitch.Inlet
	enabled  bool
	polling  bool
	hdrLen   int
	mask     uint64 // see offloadMask
	bufs     *txBuffers
	flooding atomic.Bool // the last batch was a flood

	armed   bool // Arm has succeeded: the next Disarm follows a kick
	kicks   uint64
	woken   bool      // by a kick that was not due to the start ...
	started time.Time // ... of the ring
	calls   uint64    // of previous rings

	badChains uint64

	step txStep
	room int // bytes left for frames of the batch

	_ cpu.CacheLinePad // what lies behind may be another worker's
}

// A txStep is the current step of Poll, which determines the handling of a fault.
type txStep uint8

const (
	atRing     txStep = iota // accessing the ring, or nothing
	parsing                  // parsing chains into frames, none of which has been sent
	delivering               // sending the frames through the switch
)

// txBuffers is the private memory of one batch.
type txBuffers struct {
	batch  *virtqueue.Batch
	frames [vswitch.MaxBatch]vswitch.Frame
	heads  [vswitch.MaxBatch]headRoom
}

// A headRoom is a frame's Room, in whole cache lines.
type headRoom [(vswitch.Headroom + vswitch.HeadMax + 63) / 64 * 64]byte

// head returns the first n bytes of Head, at most HeadMax.
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

// drain sends the frames that the guest has put into the queue so far, in place of the worker: a
// guest that disables a queue expects earlier frames to arrive.
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

// Flooding implements worker.Flooder.
func (q *txQueue) Flooding() bool { return q.flooding.Load() }

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

// startKick is the time after a ring's start during which a kick may come from the front-end, which
// "should" kick a ring that it starts, instead of from a driver.
const startKick = 100 * time.Millisecond

// usable reports whether the ring may be touched.
func (q *txQueue) usable() bool { return q.vq != nil && !q.port.failed.Load() }

// leave ends a critical section, also after a fault in guest memory. It has to be
// deferred directly.
func (q *txQueue) leave() {
	defer q.mu.Unlock()
	if r := recover(); r != nil {
		q.interrupted(r)
	}
}

// interrupted handles a fault. If the access was to the ring, or to memory that has vanished, the
// session ends. If a huge page is absent, a batch of which nothing has been sent is popped again
// by the next Poll.
func (q *txQueue) interrupted(r any) {
	addr, ok := faultAddr(r)
	handle, step := q.port.HandleFault, q.step
	if step == atRing {
		handle = q.port.handleRingFault
	}
	q.step = atRing
	switch {
	case !ok || !handle(addr):
		panic(r) // a bug in vswitchd
	case q.port.failed.Load():
	case step == parsing:
		q.vq.Unpop(q.bufs.batch, len(q.bufs.batch.Chains))
	default:
		q.giveUp(addr)
	}
}

// giveUp drops a batch, part of which may have been sent.
func (q *txQueue) giveUp(addr uintptr) {
	defer func() {
		if recover() != nil {
			q.port.handleRingFault(addr)
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
