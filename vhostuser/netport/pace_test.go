package netport

import (
	"testing"
	"time"
)

// A driver that keeps sending commands is limited to one command per millisecond; after a pause it
// may send a burst again, no larger than the first.
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
