package worker

import "math"

// This file decides, with Config.Poll = PollAdaptive, between three ways to wait for work:
//
//   - polling: a frame is served at once, at the price of a processor;
//   - pausing: notifications stay off, and the worker sleeps for a fixed time after it has served
//     all that had come. A frame waits for half a pause on average, several are served together,
//     and nobody has to be woken for each: neither this thread nor, by a notification, the guest;
//   - sleeping until a notification comes (armed sources), if frames are further apart than that.
//
// A worker pauses if it has polled, frames came often enough for one or more in each pause, and
// most of the time was spent on looking for them. This is wrong if the frames come from a station
// that waits for an answer before it sends the next one: such frames come as often as they are
// served, and pauses would slow the station down. So the rate at which frames come is measured
// before and during pauses. If pauses make the rate fall, the worker polls again, and for a longer
// time whenever that is repeated. The rate with polling is measured anew ten times a second.

const (
	// measurePolling is for how long, in nanoseconds, the rate of frames is measured.
	measurePolling = 1_000_000

	// trialPauses and pausesPerCheck are after how many pauses the rate is compared, at first and
	// later. More pauses give a better estimate.
	trialPauses    = 16
	pausesPerCheck = 64

	// minPause is the shortest pause, in nanoseconds, that is worth a system call and two changes
	// of thread. The longest is Config.Latency / 2.
	minPause = 15_000

	// framesPerPause is the number of frames that should come during a pause, at most: so the
	// guest's ring does not run full meanwhile.
	framesPerPause = MaxBatch

	// A worker that is busy for more than this share of its time does not pause.
	maxBusyToPause = 0.7

	// Pauses end if fewer than this share of the frames come that would come with polling, after
	// allowance for chance of chanceAllowed standard deviations.
	minRateKept   = 0.9
	chanceAllowed = 2

	// remeasure is for how long, in nanoseconds, a worker pauses before it polls again to measure
	// the rate.
	remeasure = 100_000_000

	// After pauses have slowed the senders down, none are tried for minRetry nanoseconds, twice as
	// long each time, and maxRetry at most.
	minRetry = 2_000_000
	maxRetry = 1_000_000_000
)

// A moderator decides when a worker pauses. Times are those of worker.clock.
type moderator struct {
	pause int64 // length of the pauses; 0: the worker does not pause

	// The current measurement.
	began  int64
	frames int64
	busy   int64 // time spent on frames
	pauses int

	polled  float64 // frames per nanosecond when the worker polled last
	since   int64   // start of the pauses
	proven  bool    // pauses have not slowed the senders down
	retryAt int64   // no pauses before this
	retry   int64   // the next delay
}

// restart begins a measurement.
func (m *moderator) restart(now int64) { m.began, m.frames, m.busy, m.pauses = now, 0, 0, 0 }

// served records frames, and the time that was spent on them.
func (m *moderator) served(frames int, spent int64) {
	m.frames += int64(frames)
	m.busy += spent
}

// slept records that all sources were quiet for some time.
func (m *moderator) slept(before, now int64) {
	if now-before > measurePolling {
		m.pause = 0
		m.restart(now)
	}
}

// polledLongEnough reports whether a measurement with polling is complete.
func (m *moderator) polledLongEnough(now int64) bool {
	return m.pause == 0 && now-m.began >= measurePolling
}

// tryPauses ends a measurement with polling.
func (m *moderator) tryPauses(now, longest int64) {
	elapsed := float64(now - m.began)
	rate, busy := float64(m.frames)/elapsed, float64(m.busy)/elapsed
	m.restart(now)
	if now < m.retryAt || busy > maxBusyToPause || rate*float64(longest) < 1 {
		return
	}
	m.polled, m.since, m.proven = rate, now, false
	m.setPause(rate, longest)
}

// setPause chooses the length of pauses, or ends them.
func (m *moderator) setPause(rate float64, longest int64) {
	if m.pause = min(longest, int64(framesPerPause/rate)); m.pause < minPause {
		m.pause = 0
	}
}

// paused ends a pause.
func (m *moderator) paused(now, longest int64) {
	m.pauses++
	if m.pauses < trialPauses || m.proven && m.pauses < pausesPerCheck {
		return
	}
	elapsed := float64(now - m.began)
	rate, busy := float64(m.frames)/elapsed, float64(m.busy)/elapsed
	expected := m.polled * elapsed
	slower := float64(m.frames) < minRateKept*expected-chanceAllowed*math.Sqrt(expected)
	m.restart(now)
	switch {
	case busy > maxBusyToPause:
		m.pause = 0
	case slower:
		if m.pause = 0; !m.proven {
			m.retry = min(max(2*m.retry, minRetry), maxRetry)
			m.retryAt = now + m.retry
		}
	case now-m.since > remeasure:
		m.pause = 0
	default:
		m.proven, m.retry = true, 0
		m.setPause(rate, longest)
	}
}

// longestPause returns how long, in nanoseconds, a pause may be: a frame waits for one, and for the
// thread to be woken.
func (w *worker) longestPause() int64 {
	if w.noPauses {
		return 0
	}
	return min(w.latency.Load()/2, int64(w.napAtMost))
}
