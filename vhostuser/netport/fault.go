package netport

import "runtime/debug"

// setPanicOnFault makes faults in guest memory panics of this goroutine, until the
// function it returns is called. Workers have it set for good.
func setPanicOnFault() (restore func()) {
	was := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(was) }
}

// fault charges a recovered panic to whoever's memory it was in, and reports
// whether that was the queue's own guest.
func (q *rxQueue) fault(r any) (own bool) {
	addr, ok := faultAddr(r)
	if !ok {
		panic(r) // a bug of ours
	}
	if q.port.Blame(addr) {
		return true
	}
	q.port.cfg.Blame(addr)
	return false
}
