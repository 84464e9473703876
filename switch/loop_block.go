package vswitch

import (
	"slices"
	"time"
)

// Blocking ports, and letting them go.

// A LoopBlock is that a port is blocked because of a loop.
type LoopBlock struct {
	Other string        // the other port of the loop; the port itself if the loop is behind that
	VLAN  uint16        // in which the loop was found
	Since time.Duration // how long ago the port was blocked
	Until time.Duration // from now, if no probe comes back before the end
}

// looped is told that a probe that was sent to port from in a VLAN has come in by port at. It
// reports whether that is a loop.
func (s *Switch) looped(from, at *portView, vlan uint16, now uint32) bool {
	if !from.up && !from.blocked || at.parts(from) {
		return false
	}
	at.count(LoopReturned)
	switch c, other := culprit(from, at); {
	case c == nil:
		at.att.loop.uncut.Store(uint64(from.id)<<16 | uint64(vlan))
		at.count(LoopUncut)
	case c.blocked:
		c.att.loop.returned.Store(now)
	default:
		s.block(c.att, other.att, vlan, now)
	}
	return true
}

// culprit returns which of two ports in a loop has to be blocked, and the other one; nil: neither.
func culprit(from, at *portView) (c, other *portView) {
	inOrder := func(a, b *portView) {
		if c, other = a, b; a.cfg.Name < b.cfg.Name {
			c, other = b, a
		}
	}
	c, other = at, from
	switch {
	case from == at:
		if at.cfg.Role != RoleGuest && !at.cfg.Hairpin {
			return nil, nil
		}
	case from.cfg.Role < at.cfg.Role:
		c, other = from, at
	case from.cfg.Role > at.cfg.Role:
	case from.blocked && !at.blocked:
		c, other = from, at // the loop is cut, and has to stay so
	case at.blocked && !from.blocked:
	case at.cfg.Role != RoleGuest || at.blocked:
		inOrder(from, at)
	}
	if !c.cfg.LoopDetection {
		c, other = other, c
	}
	if !c.cfg.LoopDetection || c.cfg.Role > other.cfg.Role {
		return nil, nil
	}
	return c, other
}

// block blocks port a, unless the loop has been cut meanwhile.
func (s *Switch) block(a, other *Attachment, vlan uint16, now uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cut := other != a && other.block != nil && other.view.cfg.Role == a.view.cfg.Role
	if cut || a.detached || !a.view.up || !a.view.cfg.LoopDetection || !s.loop.Detect {
		return
	}
	l := &a.loop
	if longest := s.loop.seconds(maxLoopLevel, s.origin.address); l.blocked && now-l.ended < longest {
		l.level = min(l.level+1, maxLoopLevel)
	} else {
		l.level = 0
	}
	l.blocked = true
	a.block = &loopBlock{port: a, other: other, vlan: vlan, since: now}
	s.prolong(a, LoopBlocked, now)
	a.reopen()
	s.forgetLooped(a.block)
}

// forgetLooped removes what was learned from looped frames at the other port. Needs mu.
func (s *Switch) forgetLooped(b *loopBlock) {
	s.fdb.flushLocked(b.other.fdb, FlushLoop, AnyVLAN, entryDynamic)
}

// prolong has a's block begin, or begin again, at time now. Needs mu.
func (s *Switch) prolong(a *Attachment, change LoopChange, now uint32) {
	t := s.loop.seconds(a.loop.level, s.origin.address)
	a.block.until = now + t
	a.loop.returned.Store(now)
	a.view.count(LoopBlocks)
	s.report(change, a, t)
}

// unblock ends a's block. Needs mu.
func (s *Switch) unblock(a *Attachment) {
	s.report(LoopReleased, a, 0)
	a.block = nil
	a.loop.ended = s.fdb.now()
	a.reopen()
}

// tickLoops ends blocks, and sends probes before their end.
func (s *Switch) tickLoops(now uint32) {
	for _, b := range s.endBlocks(now) {
		s.fromSwitch(b.vlan, func(in *Inlet) {
			in.probeAttached(b.port, b.vlan)
			if b.other != b.port {
				in.probeAttached(b.other, b.vlan)
			}
		})
	}
}

// endBlocks ends the blocks whose time is over and whose loop is gone, prolongs those whose loop is
// not, and returns those that end soon.
func (s *Switch) endBlocks(now uint32) (soon []loopBlock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.names {
		b := a.block
		if b == nil {
			continue
		}
		if now-b.since == forgetAgain {
			s.forgetLooped(b)
		}
		switch left := int32(b.until - now); {
		case left > releaseTime:
		case left > 0:
			soon = append(soon, *b)
		case int32(a.loop.returned.Load()-(b.until-releaseTime)) >= 0:
			a.loop.level = min(a.loop.level+1, maxLoopLevel)
			s.prolong(a, LoopRemains, now)
		default:
			s.unblock(a)
		}
	}
	return soon
}

// endForbiddenBlocks ends the blocks that the configuration does not allow any more. The next block
// of the port is like its first.
func (s *Switch) endForbiddenBlocks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.names {
		if a.block != nil && !(s.loop.Detect && a.view.cfg.LoopDetection) {
			s.unblock(a)
			a.loop.blocked = false
		}
	}
}

// loopView returns loop detection as the data plane sees it. Needs mu.
func (s *Switch) loopView(all []*portView) loopView {
	if !s.loop.Detect {
		return loopView{}
	}
	l := loopView{on: true, probed: slices.Clone(all)}
	slices.SortStableFunc(l.probed, func(a, b *portView) int { return int(b.cfg.Role) - int(a.cfg.Role) })
	for l.outer < len(all) && l.probed[l.outer].cfg.Role > RoleGuest {
		l.outer++
	}
	return l
}

// info describes the block of a's port. Needs Switch.mu.
func (b *loopBlock) info(now uint32) *LoopBlock {
	if b == nil {
		return nil
	}
	seconds := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	return &LoopBlock{Other: b.other.view.cfg.Name, VLAN: b.vlan, Since: seconds(now - b.since), Until: seconds(b.until - now)}
}
