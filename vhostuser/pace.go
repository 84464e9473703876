package vhostuser

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"vswitchd/virtqueue"
)

// The rate at which messages are processed.
//
// A message costs its front-end a system call. It may cost the back-end, and everyone whom the
// back-end serves, much more: enabling or disabling a ring changes where frames go, a memory table
// stops all workers of the device, and a broadcast is copied to everyone. So each front-end gets a
// share of a processor's time for its messages, measured by the highest known cost of each kind,
// and the messages of a front-end that has used up its share are delayed. A front-end never loses
// anything but time.
//
// The burst suffices to start a device with all its rings at once: the largest case known is QEMU
// with 256 rings, which are started, signalled and enabled one by one.

// Costs of messages, and the budget of a front-end.
const (
	paceShare = 10          // the budget is a tenth of a processor's time ...
	paceBurst = time.Second // ... of which this much can be saved up

	costKick    = 2 * time.Microsecond   // wakes a worker and changes nothing
	costMessage = 20 * time.Microsecond  // changes, or returns, state of the session alone
	costChange  = 200 * time.Microsecond // the device has to pause or to change
	costRegion  = 100 * time.Microsecond // maps memory
	costFlood   = time.Millisecond       // sends a frame to all ports
)

// cost returns the estimated cost of a message.
func (s *Session) cost(m *Message) time.Duration {
	switch m.Request {
	case VringKick:
		return costKick
	case SendRARP:
		return costFlood
	case SetMemTable:
		regions := time.Duration(0)
		if len(m.Payload) >= 4 {
			regions = time.Duration(min(binary.NativeEndian.Uint32(m.Payload), maxTableRegions))
		}
		return costChange + regions*costRegion
	case AddMemReg, RemMemReg, SetLogBase, GetInflightFD, SetInflightFD:
		return costChange + costRegion
	case SetFeatures, SetVringKick, SetVringEnable, GetVringBase, ResetDevice, SetStatus, SetBackendReqFD, SetConfig:
		return costChange
	case SetVringAddr, SetVringCall, SetVringNum, SetVringBase:
		if s.running() {
			return costChange
		}
	}
	return costMessage
}

// running reports whether the device has a ring.
func (s *Session) running() bool {
	return slices.ContainsFunc(s.queues, func(q *virtqueue.Queue) bool { return q != nil })
}

// A Pace limits the rate at which messages are processed, over a series of front-ends, of the same
// device for example: a front-end that reconnects does not get a new budget. The zero value is
// ready for use. Its methods may be called from any goroutine.
type Pace struct {
	mu     sync.Mutex
	spent  time.Duration // cost in excess of the budget, as of at
	at     time.Time
	slowed uint64
}

// take charges cost and returns how long to wait before processing the message.
func (p *Pace) take(cost time.Duration) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.spent = max(0, p.spent-now.Sub(p.at)/paceShare)
	p.at = now
	p.spent += cost
	if over := p.spent - paceBurst; over > 0 {
		p.slowed++
		return over * paceShare
	}
	return 0
}

// Slowed returns the number of messages that were delayed.
func (p *Pace) Slowed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slowed
}

// pace waits until the message may be processed. If ctx is done first, pace returns its cause.
func (s *Session) pace(ctx context.Context, m *Message) error {
	if s.limiter == nil {
		return nil
	}
	wait := s.limiter.take(s.cost(m))
	if wait == 0 {
		return nil
	}
	if !s.slowed {
		s.slowed = true
		s.log.Warn("front-end sends messages too fast: they are delayed", "message", m.Request)
	}
	return sleep(ctx, wait)
}
