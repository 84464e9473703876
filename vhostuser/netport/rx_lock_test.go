package netport

import (
	"sync"
	"testing"
	"time"
)

// The lock excludes others, whether its holder is quick or takes longer than workers wait awake.
func TestReceiveLockExcludes(t *testing.T) {
	for _, hold := range []time.Duration{0, 2 * time.Millisecond} {
		var q rxQueue
		var inside int // guarded by q.mu, as the race detector checks
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					q.lock()
					inside++
					if inside != 1 {
						t.Errorf("%d hold the lock", inside)
					}
					time.Sleep(hold)
					inside--
					q.mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
}
