package control

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"vswitchd/internal/httpserve"
	"vswitchd/internal/nearest"
)

// The part of the API that is about captures.

func (s *Server) getCaptures(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return List[Capture](s.backend.Captures()), nil
}

func (s *Server) deleteCapture(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrNoCapture, r.PathValue("id"))
	}
	return s.backend.StopCapture(id)
}

// postCapture answers with a stream, which ends with the capture.
func (s *Server) postCapture(w http.ResponseWriter, r *http.Request) {
	stream, err := s.openCapture(r)
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	httpserve.Stream(w, r)
	info := stream.Info()
	id := info.ID
	h := w.Header()
	h.Set("Content-Type", ContentTypePcapng)
	h.Set("Connection", "close")
	h.Set("Trailer", HeaderCaptured+", "+HeaderLost)
	h.Set(HeaderCapture, strconv.Itoa(id))
	s.log.Info("capture begins", "capture", id, "ports", info.Ports, "all_ports", info.All)
	err = stream.Run(r.Context(), w, http.NewResponseController(w).Flush)
	info = stream.Info()
	h.Set(HeaderCaptured, strconv.FormatUint(info.Captured, 10))
	h.Set(HeaderLost, strconv.FormatUint(info.Lost, 10))
	s.log.Info("capture has ended", "capture", id, "captured", info.Captured, "lost", info.Lost)
	if err != nil {
		s.log.Debug("control API: a client disconnected", "path", r.URL.Path, "error", err)
	}
}

// maxCaptureMS is the longest time that a capture can be limited to, in milliseconds: a year.
const maxCaptureMS = 366 * 24 * 3600 * 1000

// openCapture begins the capture that a request asks for.
func (s *Server) openCapture(r *http.Request) (CaptureStream, error) {
	var c CaptureRequest
	if err := body(r, &c); err != nil {
		return nil, err
	}
	c.Direction = cmp.Or(c.Direction, "both")
	bad := func(format string, args ...any) error {
		return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
	}
	switch {
	case !slices.Contains(Directions, c.Direction):
		return nil, bad("unknown direction %q%s", c.Direction, nearest.Hint(c.Direction, Directions))
	case c.All && len(c.Ports) > 0:
		return nil, bad("all excludes ports")
	case !c.All && len(c.Ports) == 0:
		return nil, bad("ports are missing")
	case c.Snaplen < 0 || c.Buffer < 0:
		return nil, bad("snaplen or buffer is negative")
	case c.DurationMS < 0 || c.DurationMS > maxCaptureMS:
		return nil, bad("duration_ms is %d, must be from 0 to %d", c.DurationMS, maxCaptureMS)
	}
	for _, name := range c.Ports {
		if _, err := s.port(name); err != nil {
			return nil, err
		}
	}
	stream, err := s.backend.Capture(c)
	if err != nil {
		return nil, refused(err)
	}
	return stream, nil
}
