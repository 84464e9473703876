package guest

import (
	"testing"
	"time"
)

// A short describes a session: the idle time before it, its duration, whether it ended in order,
// and the expected delay after it.
type short struct {
	idle, lasted time.Duration
	good         bool
	wait         time.Duration
}

func TestBackoff(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, sessions := range map[string][]short{
		"bad": {
			{0, 1 * ms, false, 100 * ms}, {0, 1 * ms, false, 200 * ms}, {0, 999 * ms, false, 400 * ms}, {0, ms, false, 800 * ms},
			{0, ms, false, 1000 * ms}, {0, ms, false, 1000 * ms}, {30 * s, ms, false, 1 * s}, {30 * s, ms, false, 1 * s},
			{61 * s, ms, false, 100 * ms}, // the earlier failures are forgotten
		},
		"good":             {{0, ms, true, 100 * ms}, {0, ms, true, 100 * ms}, {0, 2 * s, true, 0}},
		"a long one":       {{0, ms, false, 100 * ms}, {0, ms, false, 200 * ms}, {0, s, false, 0}, {0, ms, false, 100 * ms}},
		"a good one":       {{0, ms, false, 100 * ms}, {0, ms, false, 200 * ms}, {0, ms, true, 100 * ms}, {0, ms, false, 100 * ms}},
		"the first of all": {{time.Hour, ms, false, 100 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			b := backoff{first: FirstWait, longest: longestWait}
			now := time.Now()
			b.last = now
			for i, c := range sessions {
				began := now.Add(c.idle)
				ended := began.Add(c.lasted)
				if got := b.wait(began, ended, c.good); got != c.wait {
					t.Errorf("after session %d: %v, want %v", i, got, c.wait)
				}
				now = ended.Add(c.wait)
			}
		})
	}
}
