package netport

import "time"

// How fast a driver may command: so many commands at once, and then one in each interval. A driver
// that waits for one command before it gives the next notices nothing.
const (
	commandBurst    = 256
	commandInterval = time.Millisecond
)

// A pace is how far a driver is ahead of what it may do.
type pace struct{ next time.Time }

// take takes note of a command, and returns how long the command has to wait.
func (p *pace) take(now time.Time) time.Duration {
	if earliest := now.Add(-commandBurst * commandInterval); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(commandInterval)
	return max(0, p.next.Sub(now))
}
