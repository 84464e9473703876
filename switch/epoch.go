package vswitch

import (
	"runtime"
	"sync/atomic"
	"time"
)

// An epoch says whether a goroutine is inside Deliver. It replaces a reference count on the port
// set that Deliver reads: a goroutine that has published a new set waits until each inlet has been
// outside Deliver once; then no inlet uses the old set. The cost for the data plane is two stores
// for each batch, to a cache line that no other inlet writes.
//
// An odd number means inside. Only the goroutine that owns the inlet writes; all may read.
type epoch struct{ n atomic.Uint32 }

func (e *epoch) enter() { e.n.Add(1) }
func (e *epoch) leave() { e.n.Add(1) }

// wait returns when the goroutine has been outside Deliver at least once since the call of wait.
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
