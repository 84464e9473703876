package guest

import "time"

// haste keeps front-ends from connecting to a port as fast as they can fail.
//
// A connection costs the control plane some goroutines, and its device's start and end cost the
// FDB and the workers what any change of ports does. A QEMU that cannot use the port, because it
// wants more queues than there are for example, connects again at once and for ever; so does
// one who means harm. After a session that ended badly within a second the port waits before it
// takes the next one, twice as long each time. After one that was short and came to a good end
// it waits as long as the first time, and after any other it does not wait.
type haste struct {
	first, longest time.Duration // waits

	failed int       // sessions in a row
	last   time.Time // when the port began to take front-ends again
}

const (
	hasty       = time.Second            // a session that ends sooner is a short one
	FirstWait   = 100 * time.Millisecond // ... after which the port waits this long,
	longestWait = time.Second            // and this long at most
	forgetHaste = time.Minute            // if nobody has come for this long, the next one is no repetition
)

// wait returns how long to wait after a session from began to ended. good tells whether it
// ended as sessions do.
func (h *haste) wait(began, ended time.Time, good bool) (d time.Duration) {
	defer func() { h.last = ended.Add(d) }()
	if began.Sub(h.last) > forgetHaste {
		h.failed = 0
	}
	switch {
	case ended.Sub(began) >= hasty:
		h.failed = 0
		return 0
	case good:
		h.failed = 0
		return h.first
	}
	d = h.first
	for range h.failed {
		d = min(2*d, h.longest)
	}
	h.failed++
	return d
}
