package vswitch

import (
	"math/bits"
	"testing"
	"time"
)

// NewStill makes a switch whose clock moves only by Advance.
func NewStill(cfg Config) *Switch { return newSwitch(cfg) }

// Advance moves the clock of a switch made by NewStill, second by second, as the janitor would.
func (s *Switch) Advance(d time.Duration) {
	for range d / time.Second {
		s.fdb.tick(s.fdb.now() + 1)
	}
}

// LeaveIDs makes the switch behave as if all but n port ids were taken; these n are the highest.
func (s *Switch) LeaveIDs(n int) {
	for i := range len(s.ids) - n {
		s.ids[i] = true
	}
}

// Check verifies that the FDB is consistent. No other goroutine may use the FDB meanwhile.
func (s *Switch) Check(t *testing.T) { s.fdb.check(t) }

// WithLockedFDB calls f while the FDB's lock is held.
func (s *Switch) WithLockedFDB(f func()) {
	s.fdb.mu.Lock()
	defer s.fdb.mu.Unlock()
	f()
}

// Dropped is a drop of the last batch.
type Dropped struct {
	Stage  string
	Reason string // "" if Transmit did not take some or all of the frames
	Port   string // the port at which the drop is counted; "" if that is detached
	Frames []int  // places in the batch
}

// Dropped returns the drops of the last batch, if there were at most MaxBatch.
func (in *Inlet) Dropped() (list []Dropped) {
	b := &in.batch
	for _, d := range b.drops[:b.ndrops] {
		e := Dropped{Stage: d.at.String()}
		if d.why != countedByPort {
			e.Reason = d.why.String()
		}
		if d.port != nil {
			e.Port = d.port.cfg.Name
		}
		for m := d.frames; m != 0; m &= m - 1 {
			e.Frames = append(e.Frames, bits.TrailingZeros64(m))
		}
		list = append(list, e)
	}
	return list
}
