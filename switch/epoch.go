package vswitch

import (
	"runtime"
	"sync/atomic"
	"time"
)

// An epoch tells whether a goroutine is inside Deliver. It replaces a
// reference count on what Deliver reads (the port set): who has published a new
// set waits until each inlet has been outside once, and knows then that none
// uses the old one. The data plane pays two stores to a line of its own for each
// batch.
//
// Odd: inside. The goroutine that owns the inlet writes, anyone reads.
type epoch struct{ n atomic.Uint32 }

func (e *epoch) enter() { e.n.Add(1) }
func (e *epoch) leave() { e.n.Add(1) }

// wait returns when the goroutine has been outside at least once since the
// call began.
func (e *epoch) wait() {
	seen := e.n.Load()
	if seen&1 == 0 {
		return
	}
	for i := 0; e.n.Load() == seen; i++ {
		if i < 100 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
}
