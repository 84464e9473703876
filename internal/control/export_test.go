package control

import "time"

// SetEventTimes sets after what time without events something is written to a listener, and how
// long a listener may read nothing.
func (s *Server) SetEventTimes(heartbeat, stalled time.Duration) {
	s.heartbeat, s.stalled = heartbeat, stalled
}

// Routes returns all methods and paths, such as "GET /v1/ports/{name}".
func Routes() (list []string) {
	for _, r := range new(Server).routes() {
		list = append(list, r.method+" "+r.path)
	}
	return list
}
