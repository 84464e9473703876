package worker

// Polling an idle source pays if its next frame comes before the worker stops polling: that frame
// need not wait for a thread to be woken. If the frames of a source are further apart than
// Config.Poll, each of them wakes the worker anyway, and polling between them wastes processor
// time: with ten thousand frames a second, half of the time. So a worker detects such a source and
// stops polling it until the source has changed, much like KVM's adaptive halt polling.

const (
	// futileLimit is the number of consecutive futile polling periods after which a source is
	// no longer polled.
	futileLimit = 4

	// probeInterval is the interval, in periods, at which such a source is polled again, to see
	// whether polling pays now.
	probeInterval = 16
)

// pollHistory records whether polling a source pays. A period begins when the source wakes the
// worker and ends when the worker arms the source.
type pollHistory struct {
	found  bool // in this period, work came while the source was being polled
	futile int  // consecutive periods in which none did
}

// wait returns for how long the source is polled after its last frame: poll or 0.
func (h *pollHistory) wait(poll int64) int64 {
	if h.found || h.futile < futileLimit || h.futile%probeInterval == 0 {
		return poll
	}
	return 0
}

// periodEnded records the end of a period.
func (h *pollHistory) periodEnded() {
	if h.futile++; h.found {
		h.futile = 0
	}
	h.found = false
}
