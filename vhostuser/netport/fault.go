package netport

import "runtime/debug"

// setPanicOnFault makes faults in guest memory panics of this goroutine, until the
// function it returns is called. Workers have it set for good.
func setPanicOnFault() (restore func()) {
	was := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(was) }
}

// fault charges a recovered panic to whoever's memory it was in, and reports whether that was the
// queue's own guest. If so, and if the port has not failed, a huge page is absent.
func (q *rxQueue) fault(r any) (own bool) {
	addr, ok := faultAddr(r)
	if !ok {
		panic(r) // a bug of ours
	}
	blame := q.port.Blame
	if q.atRing {
		blame = q.port.blameRing
	}
	q.atRing = false
	if blame(addr) {
		return true
	}
	q.port.cfg.Blame(addr)
	return false
}
