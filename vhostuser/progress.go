package vhostuser

import "time"

// Progress is how far a front-end has come in a session, from which the likely cause can be told if
// it comes no further.
type Progress struct {
	Messages    uint64  // number of messages received
	Last        Request // the last of them
	AskedQueues bool    // GET_QUEUE_NUM was received
	SetFeatures bool    // SET_FEATURES was accepted
	Refused     error   // the last refusal, a *ProtocolError; nil: none

	since time.Time // of the last message, or of the session's beginning
}

// Progress returns how far the front-end has come. It may be called from any goroutine, also after
// the session's end.
func (s *Session) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Silent returns for how long the front-end has occupied the device, which can serve no other
// front-end meanwhile, without using it. That is the case while it has sent only part of a message,
// while it does not read a reply, and, before it has claimed the device, while it sends nothing.
// Otherwise Silent returns 0.
//
// SET_OWNER claims the device ("It marks the sender as the front-end that owns of the session"),
// and so does starting a ring. From then on silence is normal: a front-end may have nothing to send
// for days, whether or not its guest's driver runs.
//
// Silent may be called from any goroutine.
func (s *Session) Silent() time.Duration {
	if d := s.conn.stalledFor(); d > 0 {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Owned || s.started() {
		return 0
	}
	return time.Since(s.progress.since)
}

// recordMessage records that a message has been received.
func (s *Session) recordMessage(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.Messages++
	s.progress.Last = r
	s.progress.since = time.Now()
}

// recordOutcome records the result of a message.
func (s *Session) recordOutcome(r Request, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.progress.Refused = &ProtocolError{r, err}
	case r == GetQueueNum:
		s.progress.AskedQueues = true
	case r == SetFeatures:
		s.progress.SetFeatures = true
	}
}
