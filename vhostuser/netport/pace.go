package netport

import "time"

// The rate limit of commands: a burst, then one in each interval. A driver that waits for the
// result of each command before it sends the next is not affected.
const (
	commandBurst    = 256
	commandInterval = time.Millisecond
)

// A pace is the state of the rate limit of a driver's commands.
type pace struct{ next time.Time }

// take records a command, and returns by how much the command has to be delayed.
func (p *pace) take(now time.Time) time.Duration {
	if earliest := now.Add(-commandBurst * commandInterval); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(commandInterval)
	return max(0, p.next.Sub(now))
}
