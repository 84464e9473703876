package control

import "time"

// SetEventTimes sets after what time without events something is written to a listener, and how
// long a listener may read nothing.
func (s *Server) SetEventTimes(heartbeat, stalled time.Duration) {
	s.heartbeat, s.stalled = heartbeat, stalled
}
