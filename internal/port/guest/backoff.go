package guest

import "time"

// A backoff limits the rate at which front-ends connect to a port and fail.
//
// A connection costs the control plane several goroutines, and starting and stopping its device
// costs the FDB and the workers as much as any change of ports. A QEMU that cannot use the port,
// for example because it needs more queues than the port offers, reconnects immediately and
// indefinitely; so does a malicious front-end. After a session that failed within a second, the
// port waits before it accepts the next front-end, and doubles the wait after each further failure.
// After a session that was short and ended in order, the port waits for the initial delay. After
// any longer session it does not wait.
type backoff struct {
	first, longest time.Duration // initial and maximum delay

	failed int       // consecutive short sessions that failed
	last   time.Time // when the last delay ended
}

const (
	shortSession   = time.Second            // a session that ends sooner is a short one
	FirstWait      = 100 * time.Millisecond // initial delay after a short session
	longestWait    = time.Second            // maximum delay
	forgetFailures = time.Minute            // after this time without a connection, the delay starts from FirstWait again
)

// wait returns the delay after a session that lasted from began to ended. good reports whether the
// session ended in order.
func (b *backoff) wait(began, ended time.Time, good bool) (d time.Duration) {
	defer func() { b.last = ended.Add(d) }()
	if began.Sub(b.last) > forgetFailures {
		b.failed = 0
	}
	switch {
	case ended.Sub(began) >= shortSession:
		b.failed = 0
		return 0
	case good:
		b.failed = 0
		return b.first
	}
	d = b.first
	for range b.failed {
		d = min(2*d, b.longest)
	}
	b.failed++
	return d
}
