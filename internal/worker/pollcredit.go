package worker

// This file is the counterpart of pollhistory.go for PollAdaptive. Whether a frame comes while its
// source is polled is not all: if the frames of a source come at random, some of them do, however
// far apart they are. So the time is counted that is spent on finding nothing.

const (
	// adaptivePoll is for how long, in nanoseconds, a source is polled after its last frame. To
	// wake a thread takes about as long, so polling for longer costs more than that.
	adaptivePoll = 50_000

	// maxPollCredit is the most polling that a source can be granted in advance.
	maxPollCredit = 4 * adaptivePoll

	// probeCredit is what a source that is not polled gets for each period, so that it is polled
	// again for once after some periods.
	probeCredit = adaptivePoll / 64
)

// pollCredit is the time, in nanoseconds, that a source may still be polled without finding work.
// Each frame that is found earns adaptivePoll, less the time that it took to come.
type pollCredit int64

// add changes the credit, within its limits.
func (c *pollCredit) add(ns int64) {
	*c = pollCredit(min(max(int64(*c)+ns, -adaptivePoll), maxPollCredit))
}

// found records that work came after the source was polled for idle nanoseconds.
func (c *pollCredit) found(idle int64) { c.add(adaptivePoll - min(idle, adaptivePoll)) }

// armed records that no work came for idle nanoseconds and that the source is not polled any more.
func (c *pollCredit) armed(idle int64) {
	if *c > 0 {
		c.add(-idle)
	} else {
		c.add(probeCredit)
	}
}

// wait returns for how long the source is polled after its last frame.
func (c *pollCredit) wait() int64 {
	if *c > 0 {
		return adaptivePoll
	}
	return 0
}
