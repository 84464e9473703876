package guest

import "time"

// A penalty computes how long a port accepts no front-end after one that blocked a data-plane
// thread (vhostuser.ErrJammed).
//
// Such a front-end is detected after it has blocked threads for 100 ms on average. The first
// penalty limits this to one percent of the time. No front-end blocks threads by mistake, so the
// penalty doubles with each repetition: many such ports together must not block the threads for a
// significant part of the time either.
type penalty struct {
	times int       // penalties since the count was last reset
	last  time.Time // when the last penalty began
}

const (
	firstPenalty   = 10 * time.Second
	longestPenalty = 20 * time.Minute
	forgetPenalty  = 2 * time.Hour // the count is reset this long after the start of the last penalty
)

// due returns the penalty for a session that ended at now.
func (p *penalty) due(now time.Time) time.Duration {
	if now.Sub(p.last) > forgetPenalty {
		p.times = 0
	}
	d := firstPenalty
	for range p.times {
		d = min(2*d, longestPenalty)
	}
	p.times++
	p.last = now
	return d
}
