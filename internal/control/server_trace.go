package control

import (
	"encoding/hex"
	"fmt"
	"net/http"
)

// maxTraced is the longest frame that can be traced, in bytes: longer than any that is forwarded.
const maxTraced = 128 << 10

func (s *Server) postTrace(r *http.Request) (any, error) {
	var t TraceRequest
	if err := body(r, &t); err != nil {
		return nil, err
	}
	frame, err := hex.DecodeString(t.Frame)
	switch {
	case err != nil:
		return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("frame: %v", err)}
	case len(frame) > maxTraced:
		return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("frame: %d bytes, at most %d are possible", len(frame), maxTraced)}
	}
	if _, err := s.port(t.Port); err != nil {
		return nil, err
	}
	steps, err := s.backend.Trace(t.Port, frame)
	if err != nil {
		return nil, err
	}
	return Trace{Port: t.Port, Frame: hex.EncodeToString(frame), Steps: steps}, nil
}
