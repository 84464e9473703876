package control

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// maxTraced is the longest frame that can be traced, in bytes: longer than any that is forwarded.
const maxTraced = 128 << 10

// postNext waits for a frame. The answer comes well before the server's deadline.
func (s *Server) postNext(r *http.Request) (any, error) {
	var n NextRequest
	if err := body(r, &n); err != nil {
		return nil, err
	}
	if n.WaitMS < 0 || n.WaitMS > MaxWaitMS {
		return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("wait_ms is %d, must be from 0 to %d", n.WaitMS, MaxWaitMS)}
	}
	if _, err := s.port(n.Port); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(n.WaitMS)*time.Millisecond)
	defer cancel()
	frame, steps, err := s.backend.Next(ctx, n.Port, n.Filter)
	if err != nil {
		return nil, refused(err)
	}
	return Trace{Port: n.Port, Frame: hex.EncodeToString(frame), Steps: steps}, nil
}

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
