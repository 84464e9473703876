package netport

import "runtime/debug"

// setPanicOnFault turns faults in guest memory into panics of this goroutine, until the returned
// function is called. Workers have it set permanently.
func setPanicOnFault() (restore func()) {
	was := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(was) }
}

// fault attributes a recovered panic to the port whose memory contains the address, and
// reports whether that is the queue's own guest. If so, and if the port has not failed, a
// huge page is absent.
func (q *rxQueue) fault(r any) (own bool) {
	addr, ok := faultAddr(r)
	if !ok {
		panic(r) // a bug in vswitchd
	}
	handle := q.port.HandleFault
	if q.atRing {
		handle = q.port.handleRingFault
	}
	q.atRing = false
	if handle(addr) {
		return true
	}
	q.port.cfg.ForeignFault(addr)
	return false
}
