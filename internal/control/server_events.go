package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vswitchd/internal/httpserve"
	"vswitchd/internal/nearest"
)

// The stream of events: server-sent events (HTML standard, section 9.2).

const (
	// heartbeat is how often something is written to a listener for whom there are no events, so
	// that a connection that nobody reads any more is noticed.
	heartbeat = 15 * time.Second

	// stalled is how long a listener may read nothing of what is being written.
	stalled = 30 * time.Second
)

// ContentTypeEvents is the type of the answer to GET /v1/events.
const ContentTypeEvents = "text/event-stream"

// getEvents answers with a stream of events, which ends when the client leaves, reads nothing for
// too long, or vswitchd stops.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	filter, snapshot, err := s.eventQuery(r)
	var l EventListener
	if err == nil {
		l, err = s.backend.Listen(filter)
	}
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	defer l.Close()
	httpserve.Stream(w, r)
	h := w.Header()
	h.Set("Content-Type", ContentTypeEvents)
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	out := newEventWriter(w, s.stalled)
	err = s.streamEvents(r.Context(), out, l, filter, snapshot)
	if errors.Is(err, ErrStreamOver) || errors.Is(err, context.Canceled) {
		err = cmp.Or(out.event(NewEvent(EventStream, "ended", "", &StreamEvent{Reason: ErrStreamOver.Error()})), out.flush())
	}
	if err != nil {
		s.log.Debug("control API: a client disconnected", "path", r.URL.Path, "error", err)
	}
}

// eventQuery returns what a request for events asks for.
func (s *Server) eventQuery(r *http.Request) (f EventFilter, snapshot bool, err error) {
	q, err := query(r, "kind", "port", "snapshot")
	if err != nil {
		return f, false, err
	}
	for kind := range strings.SplitSeq(q.Get("kind"), ",") {
		if !q.Has("kind") {
			break
		}
		if !slices.Contains(EventKinds, EventKind(kind)) {
			return f, false, &statusError{http.StatusBadRequest, fmt.Sprintf("kind is %q, must be one of %s%s", kind, joinKinds(", "), nearest.Hint(kind, strings.Fields(joinKinds(" "))))}
		}
		f.Kinds = append(f.Kinds, EventKind(kind))
	}
	if v := q.Get("snapshot"); v != "" {
		if snapshot, err = strconv.ParseBool(v); err != nil {
			return f, false, &statusError{http.StatusBadRequest, fmt.Sprintf("snapshot is %q, must be true or false", v)}
		}
	}
	if f.Port = q.Get("port"); f.Port != "" {
		_, err = s.port(f.Port)
	}
	return f, snapshot, err
}

func joinKinds(separator string) string {
	var names []string
	for _, k := range EventKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, separator)
}

// streamEvents writes events until ctx is done or no more will come. The error is never nil.
func (s *Server) streamEvents(ctx context.Context, out *eventWriter, l EventListener, f EventFilter, snapshot bool) error {
	st := s.backend.Switch()
	kinds := f.Kinds
	if kinds == nil {
		kinds = EventKinds
	}
	started := &StreamEvent{Version: st.Version, UptimeS: st.UptimeS, Kinds: kinds}
	if err := out.event(NewEvent(EventStream, "started", "", started)); err != nil {
		return err
	}
	if snapshot {
		if err := s.writeSnapshot(out, f); err != nil {
			return err
		}
	}
	for {
		if err := out.flush(); err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, s.heartbeat)
		list, err := l.Next(waiting)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = out.comment()
		case err == nil:
			err = out.queued(list)
		}
		if err != nil {
			return err
		}
	}
}

// writeSnapshot writes what is present. The listener has its queue already: what changes meanwhile
// is told behind the snapshot, and may be in the snapshot as well.
func (s *Server) writeSnapshot(out *eventWriter, f EventFilter) error {
	write := func(kind EventKind, port string, detail EventDetail) error {
		e := NewEvent(kind, EventPresent, port, detail)
		if !f.Match(&e) {
			return nil
		}
		return out.event(e)
	}
	if f.Wants(EventPort) {
		for _, p := range s.backend.Ports() {
			if err := write(EventPort, p.Name, PresentPort(&p)); err != nil {
				return err
			}
		}
	}
	if f.Wants(EventFDB) {
		for _, e := range s.backend.FDB(FDBFilter{Port: f.Port, VLAN: -1}) {
			if err := write(EventFDB, e.Port, &FDBEvent{MAC: e.MAC, VLAN: e.VLAN, All: e.All, Type: e.Type}); err != nil {
				return err
			}
		}
	}
	if f.Wants(EventMDB) {
		for _, e := range s.backend.MDB(-1).Entries {
			if err := write(EventMDB, e.Port, &MDBEvent{Group: e.Group, VLAN: e.VLAN, Type: e.Type, Source: e.Source}); err != nil {
				return err
			}
		}
	}
	return out.event(NewEvent(EventStream, "synced", "", &StreamEvent{}))
}

// PresentPort describes a port as events do.
func PresentPort(p *PortInfo) *PortEvent {
	e := &PortEvent{PortKind: p.Kind, State: p.State}
	switch {
	case p.Loop != nil && p.State == StateBlocked:
		e.Reason = "loop with " + p.Loop.Port
	case p.State != StateRunning:
		e.Reason = p.LastError
	}
	return e
}

// An eventWriter writes events to a client.
type eventWriter struct {
	buf *bufio.Writer
	rc  *http.ResponseController
}

func newEventWriter(w http.ResponseWriter, stalled time.Duration) *eventWriter {
	rc := http.NewResponseController(w)
	return &eventWriter{rc: rc, buf: bufio.NewWriterSize(&deadlineWriter{w, rc, stalled}, 32<<10)}
}

// A deadlineWriter fails if the client does not read.
type deadlineWriter struct {
	w       io.Writer
	rc      *http.ResponseController
	stalled time.Duration
}

func (d *deadlineWriter) Write(b []byte) (int, error) {
	// A connection without deadlines blocks at most this goroutine.
	_ = d.rc.SetWriteDeadline(time.Now().Add(d.stalled))
	return d.w.Write(b)
}

// event writes an event that has no place in the listener's queue.
func (o *eventWriter) event(e Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return o.write(QueuedEvent{Kind: e.Kind, Data: data})
}

// queued writes events from the listener's queue.
func (o *eventWriter) queued(list []QueuedEvent) error {
	for _, e := range list {
		if e.Lost != nil {
			data, err := json.Marshal(NewEvent(EventStream, "lost", "", &StreamEvent{Lost: e.Lost}))
			if err != nil {
				return err
			}
			e.Data = data
		}
		if err := o.write(e); err != nil {
			return err
		}
	}
	return nil
}

func (o *eventWriter) write(e QueuedEvent) error {
	if e.Number > 0 {
		fmt.Fprintf(o.buf, "id: %d\n", e.Number)
	}
	_, err := fmt.Fprintf(o.buf, "event: %s\ndata: %s\n\n", e.Kind, e.Data) // returns earlier errors, too
	return err
}

func (o *eventWriter) comment() error {
	_, err := o.buf.WriteString(":\n\n")
	return err
}

func (o *eventWriter) flush() error {
	if err := o.buf.Flush(); err != nil {
		return err
	}
	return o.rc.Flush()
}
