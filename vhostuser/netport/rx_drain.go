package netport

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// This file delivers the frames that a receiveq holds (rx_hold.go).

// A drainState is what makes the queue's held frames be delivered, if no further frame comes.
type drainState uint8

const (
	drainAsleep  drainState = iota // nothing; there are no held frames
	drainCalled                    // the worker has been woken
	drainPolling                   // the worker polls the queue
	drainArmed                     // the guest has been asked for a kick
)

// A drain is the Source by which a worker delivers held frames.
type drain struct{ *rxQueue }

// startDrain makes it possible to hold frames, if the guest can kick. The caller does not hold mu.
func (q *rxQueue) startDrain(r vhostuser.Ring) error {
	if r.Kick < 0 || q.port.cfg.StartResident == nil {
		return nil // frames for which there is no buffer are dropped
	}
	q.kick = r.Kick
	wake, err := q.port.cfg.StartResident(drain{q})
	if err != nil {
		return fmt.Errorf("ring %d: %w", q.index, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake, q.drain = wake, drainAsleep
	return nil
}

// stopDrain undoes startDrain. The caller does not hold mu.
func (q *rxQueue) stopDrain() {
	if q.wake != nil {
		q.port.cfg.Stop(drain{q})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake = nil
}

// callDrain has the held frames delivered as soon as the guest makes buffers available. The caller
// holds mu.
func (q *rxQueue) callDrain() {
	if q.drain == drainAsleep {
		q.drain = drainCalled
		q.wake()
	}
}

// FD implements worker.Source.
func (d drain) FD() int { return d.kick }

// Disarm implements worker.Source.
func (d drain) Disarm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.drain
	d.drain = drainPolling
	if was == drainArmed {
		d.notify(func() bool { d.vq.Disarm(); return false })
	}
}

// Arm implements worker.Source.
func (d drain) Arm() (pending bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.holding() {
		d.drain = drainAsleep
		return false
	}
	d.drain = drainArmed
	return d.notify(d.armBehindShort)
}

// armBehindShort asks the guest for a kick when it makes more buffers available than those that
// were not enough for the first held frame, and reports whether it has done so already. The caller
// holds mu.
func (q *rxQueue) armBehindShort() (pending bool) {
	q.batch.Reset()
	for left := q.short; left > 0; {
		n, err := q.vq.Pop(q.batch, left)
		if n == 0 || err != nil {
			break // an error is found by the next Poll
		}
		left -= n
	}
	pending = q.vq.Arm()
	q.vq.Unpop(q.batch, len(q.batch.Chains))
	return pending
}

// notify changes what the guest is asked to do, by change, unless the ring cannot be used. The
// caller holds mu.
func (q *rxQueue) notify(change func() bool) (pending bool) {
	if !q.active() || q.port.failed.Load() {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			q.fault(r)
			pending = false
		}
		q.atRing = false
	}()
	q.atRing = true
	return change()
}

// Poll implements worker.Source.
func (d drain) Poll() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.active() || d.port.failed.Load() {
		return 0
	}
	return d.deliverHeld()
}

// deliverHeld sends a batch of held frames to the guest, as far as there are buffers. It returns
// the number of frames that are not held any more. The caller holds mu, and the queue is active.
func (q *rxQueue) deliverHeld() (n int) {
	if !q.holding() {
		return 0
	}
	frames := q.held.peek()
	q.batch.Reset()
	q.group = group{frames: len(frames), old: true, firstKept: len(frames)}
	q.attempt(frames)
	q.finish(frames)
	q.count()
	for _, f := range frames[:q.next] {
		if why, refused := f.Refusal(); refused {
			q.port.counters.Drop(why, 1)
		}
	}
	n = q.next
	q.dropHeld(n)
	return n
}

// count adds what was sent of a group to the port's counters.
func (q *rxQueue) count() {
	q.port.counters.TxFrames.Add(uint64(q.sent))
	q.port.counters.TxBytes.Add(uint64(q.bytes))
}

// SetQueueLen sets the number of frames that each receiveq holds for a guest without receive
// buffers; 0: none. It may be called at any time.
func (p *Port) SetQueueLen(frames int) { p.queueLen.Store(int64(frames)) }

// Held is what the port holds for its guest, and has held.
type Held struct {
	Frames int    // that wait for buffers now
	Bytes  int64  // of memory that they occupy
	Total  uint64 // frames that had to wait
}

// Held returns what the port's receiveqs hold.
func (p *Port) Held() (h Held) {
	rx, _ := p.queues()
	for _, q := range rx {
		q.mu.Lock()
		if q.held != nil {
			h.Frames += q.held.n
		}
		h.Total += q.heldTotal
		q.mu.Unlock()
	}
	h.Bytes = p.hold.inUse()
	return h
}

// discardHeld drops what all receiveqs hold.
func (p *Port) discardHeld(why vswitch.DropReason) {
	rx, _ := p.queues()
	for _, q := range rx {
		q.mu.Lock()
		q.discardHeld(why)
		q.mu.Unlock()
	}
}
