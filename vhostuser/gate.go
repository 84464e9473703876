package vhostuser

import "time"

// A Gate holds a session, and whoever accepts the session's connection, at a place where nothing is
// half done: the goroutine that serves a device has the gate for everything that it does, and
// leaves the gate only while it waits, for a connection or for the first byte of a message. Whoever
// has the gate meanwhile may look at the session as that goroutine would, and may call its device.
//
// Each goroutine that waits for the gate gets its turn, in order. A nil Gate is open to everybody.
type Gate chan struct{}

// NewGate returns a gate that nobody has.
func NewGate() Gate { return make(Gate, 1) }

// Enter waits for the gate.
func (g Gate) Enter() {
	if g != nil {
		g <- struct{}{}
	}
}

// EnterWithin is Enter, but gives up after d, and reports whether it has the gate.
func (g Gate) EnterWithin(d time.Duration) bool {
	if g == nil {
		return true
	}
	select { // an open gate is entered whatever d is
	case g <- struct{}{}:
		return true
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case g <- struct{}{}:
		return true
	case <-t.C:
		return false
	}
}

// Leave leaves the gate, which the caller has.
func (g Gate) Leave() {
	if g != nil {
		<-g
	}
}
