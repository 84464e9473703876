package guest

import "time"

// A penalty is how long a port takes no front-end after one that made a data-plane thread wait
// (vhostuser.ErrJammed).
//
// Such a front-end is found after it has held up threads for 100 ms on average. The first
// penalty limits that to a hundredth of the time. No front-end does it by mistake, so a port
// that does it again waits twice as long each time: many such ports together must not
// hold up the threads for much of the time either.
type penalty struct {
	times int       // that it was due, until it is forgotten
	last  time.Time // when it was due
}

const (
	firstPenalty   = 10 * time.Second
	longestPenalty = 20 * time.Minute
	forgetPenalty  = 2 * time.Hour // after a penalty, if there was none in between
)

// due returns the penalty for a front-end that ended now.
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
