package vhostuser

import "time"

// Course is how far a front-end has come in a session, for those who want to say why it came
// no further.
type Course struct {
	Messages    uint64  // that were received
	Last        Request // the last of them
	AskedQueues bool    // GET_QUEUE_NUM
	SetFeatures bool    // SET_FEATURES was accepted
	Refused     error   // what was refused last, a *ProtocolError; nil: nothing

	since time.Time // of the last message, or of the session's beginning
}

// Course returns how far the front-end has come, also after the session's end. It may be
// called from any goroutine.
func (s *Session) Course() Course {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.course
}

// Silent returns for how long the front-end has kept the device from serving another one
// without being served itself; 0: it does not do so. It does if it has been within a message
// for some time, or does not read a reply; and, before it has claimed the device, if it says
// nothing at all.
//
// SET_OWNER claims the device ("It marks the sender as the front-end that owns of the
// session"), and so does a ring that is started. From then on silence is normal: a front-end whose
// guest's driver does not run, or runs, has nothing to say for days.
//
// Silent may be called from any goroutine.
func (s *Session) Silent() time.Duration {
	if d := s.conn.stuck(); d > 0 {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Owned || s.started() {
		return 0
	}
	return time.Since(s.course.since)
}

// noteMessage notes that a message has been received.
func (s *Session) noteMessage(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.course.Messages++
	s.course.Last = r
	s.course.since = time.Now()
}

// noteOutcome notes what has become of a message.
func (s *Session) noteOutcome(r Request, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.course.Refused = &ProtocolError{r, err}
	case r == GetQueueNum:
		s.course.AskedQueues = true
	case r == SetFeatures:
		s.course.SetFeatures = true
	}
}
