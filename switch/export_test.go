package vswitch

import "time"

// NewStill makes a switch whose clock moves only by Advance.
func NewStill(cfg Config) *Switch { return newSwitch(cfg) }

// Advance moves the clock of a switch made by NewStill, second by second, as
// the janitor would.
func (s *Switch) Advance(d time.Duration) {
	for range d / time.Second {
		s.fdb.tick(s.fdb.now() + 1)
	}
}
