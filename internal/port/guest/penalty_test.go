package guest

import (
	"testing"
	"time"
)

func TestPenaltyGrows(t *testing.T) {
	var p penalty
	now := time.Unix(1e9, 0)
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1200, 1200} {
		if got := p.due(now); got != want*time.Second {
			t.Errorf("penalty is %v, want %v", got, want*time.Second)
		}
		now = now.Add(time.Hour)
	}
	for range 1000 {
		p.due(now)
	}
	if got := p.due(now); got != longestPenalty {
		t.Errorf("penalty is %v", got)
	}
	if got := p.due(now.Add(forgetPenalty + 1)); got != firstPenalty {
		t.Errorf("after a long time, the penalty is %v", got)
	}
}
