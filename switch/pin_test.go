package vswitch

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Addresses that stay pinned while a port is reconfigured keep their entries all the time: if an
// entry were missing for a moment, a frame to that address would be flooded to all ports.
func TestReconfigureNeverUnpinsWhatStays(t *testing.T) {
	s := newSwitch(Config{})
	cfg := DefaultPortConfig("a")
	stays, goes, comes := MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}, MAC{2, 0, 0, 0, 0, 3}
	cfg.MACs = []MAC{stays, goes}
	a, err := s.Attach(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := makeKey(stays.addr(), 0)
	var (
		wg     sync.WaitGroup
		quit   atomic.Bool
		misses atomic.Int64
	)
	ready := make(chan struct{})
	wg.Go(func() {
		h := s.fdb.perm.hash(key)
		for first := true; !quit.Load(); first = false {
			if _, _, id := s.fdb.lookup(h); id != a.id {
				misses.Add(1)
			}
			if first {
				close(ready)
			}
		}
	})
	<-ready
	for i := range 5000 {
		cfg.MACs[1] = []MAC{comes, goes}[i%2]
		if err := a.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
	}
	quit.Store(true)
	wg.Wait()
	if n := misses.Load(); n != 0 {
		t.Errorf("the address was not found %d times", n)
	}
	for m, want := range map[MAC]bool{stays: true, goes: true, comes: false} {
		if _, _, p := s.fdb.get(makeKey(m.addr(), 0)); (p == a.fdb) != want {
			t.Errorf("%s: pinned is %v, want %v", m, !want, want)
		}
	}
	if n := a.info().Static; n != 2 {
		t.Errorf("%d static entries", n)
	}
}
