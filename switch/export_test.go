package vswitch

import (
	"testing"
	"time"
)

// NewStill makes a switch whose clock moves only by Advance.
func NewStill(cfg Config) *Switch { return newSwitch(cfg) }

// Advance moves the clock of a switch made by NewStill, second by second, as
// the janitor would.
func (s *Switch) Advance(d time.Duration) {
	for range d / time.Second {
		s.fdb.tick(s.fdb.now() + 1)
	}
}

// LeaveIDs makes the switch behave as if all but n port ids were taken; these
// n are the highest.
func (s *Switch) LeaveIDs(n int) {
	for i := range len(s.ids) - n {
		s.ids[i] = true
	}
}

// Check verifies that the FDB is consistent. Nobody uses it meanwhile.
func (s *Switch) Check(t *testing.T) { s.fdb.check(t) }

// WithLockedFDB calls f while someone else is changing the FDB.
func (s *Switch) WithLockedFDB(f func()) {
	s.fdb.mu.Lock()
	defer s.fdb.mu.Unlock()
	f()
}
