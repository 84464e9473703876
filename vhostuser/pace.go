package vhostuser

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"vswitchd/virtqueue"
)

// How fast messages are taken.
//
// A message costs its front-end a system call. It may cost the back-end, and everybody else
// whom the back-end serves, much more: a ring that is enabled or disabled changes where
// frames go, a memory table has all workers of the device wait, and a broadcast is copied to
// everybody. So a front-end gets a share of a processor's time for its messages, in terms of
// what each is known to cost at most, and whoever has used it up has its messages taken later. A
// front-end never loses anything but time.
//
// What a front-end needs to start its device, however many rings that has, is there at once: the
// most known is 256 rings of QEMU, which are started, signalled and enabled one by one.

// Costs of messages, and what a front-end may spend on them.
const (
	paceShare = 10          // the tenth part of a processor's time ...
	paceBurst = time.Second // ... of which this much can be saved up

	costKick    = 2 * time.Microsecond   // wakes a worker and changes nothing
	costMessage = 20 * time.Microsecond  // changes, or tells, what only the session knows
	costChange  = 200 * time.Microsecond // the device has to pause or to change
	costRegion  = 100 * time.Microsecond // maps memory
	costFlood   = time.Millisecond       // sends a frame to everybody
)

// cost returns what a message is taken to cost.
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

// running tells whether the device has a ring.
func (s *Session) running() bool {
	return slices.ContainsFunc(s.queues, func(q *virtqueue.Queue) bool { return q != nil })
}

// A Pace limits how fast the messages of front-ends are taken that come one after the other, to
// the same device for example: that a front-end connects again does not make it a new one. The
// zero value is ready for use. Its methods may be called from any goroutine.
type Pace struct {
	mu     sync.Mutex
	spent  time.Duration // more than was earned, at the time of at
	at     time.Time
	slowed uint64
}

// take spends cost and returns how long to wait before doing what costs it.
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

// Slowed returns how many messages have had to wait.
func (p *Pace) Slowed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slowed
}

// pace waits until it is time to do what a message says, or until ctx is done, whose cause it
// then returns.
func (s *Session) pace(ctx context.Context, m *Message) error {
	if s.paceOf == nil {
		return nil
	}
	wait := s.paceOf.take(s.cost(m))
	if wait == 0 {
		return nil
	}
	if !s.slowed {
		s.slowed = true
		s.log.Warn("front-end sends messages faster than they are taken: it has to wait", "message", m.Request)
	}
	return sleep(ctx, wait)
}
