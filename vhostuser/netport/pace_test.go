package netport

import (
	"testing"
	"time"
)

// A driver that commands without end is held to one command in a millisecond; one that rests may hurry
// again, and no more than at first.
func TestPaceOfCommands(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	for round := range 3 {
		free := 0
		for p.take(now) == 0 {
			free++
		}
		if free != commandBurst {
			t.Errorf("round %d: %d commands at once, want %d", round, free, commandBurst)
		}
		for range 1000 {
			now = now.Add(commandInterval)
			if wait := p.take(now); wait != commandInterval {
				t.Fatalf("round %d: a command in each interval waits %v", round, wait)
			}
		}
		now = now.Add(time.Hour)
	}
}
