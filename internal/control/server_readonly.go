package control

import "net/http"

// readOnlyPaths are what ReadOnly answers: figures, the FDB and events, but not the configuration,
// and nothing about the memory or the processes of guests.
var readOnlyPaths = []string{"/v1/switch", "/v1/stats", "/v1/stats/{name}", "/v1/fdb", "/v1/events"}

// ReadOnly returns a handler for clients that need not be trusted: it answers GET requests for a
// few paths, none of which changes anything. It has to run in httpserve.Serve.
func (s *Server) ReadOnly() http.Handler {
	all := s.handler()
	mux := http.NewServeMux()
	for _, path := range readOnlyPaths {
		mux.Handle("GET "+path, all)
	}
	return mux
}
