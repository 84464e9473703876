package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/httpserve"
	"vswitchd/internal/nearest"
)

// Server answers the control API.
type Server struct {
	backend Backend
	config  Configuration
	log     hclog.Logger

	heartbeat, stalled time.Duration // see server_events.go

	handOver func(*net.UnixConn) // see HandOver; nil: not possible
	changes  sync.RWMutex        // held for reading while a request changes something
}

// maxConns is the limit of connected clients: one more replaces the oldest.
const maxConns = 32

// NewServer returns a server.
func NewServer(backend Backend, config Configuration, log hclog.Logger) *Server {
	return &Server{backend: backend, config: config, log: log, heartbeat: heartbeat, stalled: stalled}
}

// Serve answers requests that arrive through l until ctx is done; then it closes l, gives requests
// in progress a second, and returns nil. Answers are made from snapshots, so that a slow client
// keeps nobody waiting.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	err := httpserve.Serve(ctx, l, httpserve.Config{
		Handler: s.handler(), MaxConns: maxConns, Idle: 30 * time.Second, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("control API: %w", err)
	}
	return nil
}

// A route is a method of a path. docs/openapi.json describes all of them.
type route struct {
	method, path string
	handle       http.HandlerFunc
}

// routes returns all that requests can be about.
func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/switch", s.answering(s.getSwitch)},
		{"GET", "/v1/ports", s.answering(s.getPorts)},
		{"GET", "/v1/ports/{name}", s.answering(s.getPort)},
		{"GET", "/v1/fdb", s.answering(s.getFDB)},
		{"POST", "/v1/fdb", s.changing(s.postFDB)},
		{"DELETE", "/v1/fdb", s.changing(s.deleteFDB)},
		{"DELETE", "/v1/fdb/{mac}", s.changing(s.deleteFDBEntry)},
		{"GET", "/v1/mdb", s.answering(s.getMDB)},
		{"GET", "/v1/neigh", s.answering(s.getNeighbors)},
		{"POST", "/v1/mdb", s.changing(s.postMDB)},
		{"DELETE", "/v1/mdb", s.changing(s.deleteMDB)},
		{"GET", "/v1/mirrors", s.answering(s.getMirrors)},
		{"GET", "/v1/captures", s.answering(s.getCaptures)},
		{"POST", "/v1/captures", s.postCapture},
		{"GET", "/v1/events", s.getEvents},
		{"DELETE", "/v1/captures/{id}", s.answering(s.deleteCapture)},
		{"POST", "/v1/trace", s.answering(s.postTrace)},
		{"POST", "/v1/trace/next", s.answering(s.postNext)},
		{"GET", "/v1/filters", s.answering(s.getFilters)},
		{"GET", "/v1/filters/{name}", s.answering(s.getFilter)},
		{"GET", "/v1/sets", s.answering(s.getSets)},
		{"GET", "/v1/sets/{name}", s.answering(s.getSet)},
		{"PUT", "/v1/sets/{name}", s.changing(s.putSet)},
		{"PATCH", "/v1/sets/{name}", s.changing(s.patchSet)},
		{"GET", "/v1/stats", s.answering(s.getStats)},
		{"DELETE", "/v1/stats", s.changing(s.deleteStats)},
		{"GET", "/v1/stats/{name}", s.answering(s.getPortStats)},
		{"DELETE", "/v1/stats/{name}", s.changing(s.deleteStats)},
		{"GET", "/v1/config", s.answering(s.getConfig)},
		{"PATCH", "/v1/config", s.changing(s.patchConfig)},
		{"POST", "/v1/config/check", s.answering(s.postConfigCheck)},
		{"POST", "/v1/reload", s.changing(s.postReload)},
		{"GET", "/v1/state", s.answering(s.getState)},
	}
}

// answering returns the handler that answers with what h returns.
func (s *Server) answering(h func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h(r)
		s.answer(w, r, v, err)
	}
}

// changing is answering for requests that change something.
func (s *Server) changing(h func(*http.Request) (any, error)) http.HandlerFunc {
	return s.answering(func(r *http.Request) (any, error) {
		s.changes.RLock()
		defer s.changes.RUnlock()
		return h(r)
	})
}

// handler routes requests. A known path answers other methods with 405, any other path is answered
// with 404, both in JSON.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string][]string) // by path
	for _, r := range s.routes() {
		mux.HandleFunc(r.method+" "+r.path, r.handle)
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, known := range methods {
		allowed := strings.Join(known, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allowed)
			s.answer(w, r, nil, &statusError{http.StatusMethodNotAllowed, "use " + allowed})
		})
	}
	mux.HandleFunc("POST /v1/takeover", s.postTakeover) // not for clients: see HandOver
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, nil, &statusError{http.StatusNotFound, "there is no " + strconv.Quote(r.URL.Path) + " in this API"})
	})
	return mux
}

// statusError is an error with the status of its answer.
type statusError struct {
	status int
	msg    string
}

func (e *statusError) Error() string { return e.msg }

// refusal is an error with several lines.
type refusal struct {
	msg     string
	details []string
}

func (e *refusal) Error() string { return e.msg }

// answer sends v, or err if that is not nil.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	status := http.StatusOK
	if err != nil {
		status, v = errorAnswer(err)
	}
	body, err := json.Marshal(v)
	if err != nil { // for example a ratio that is not a number
		s.log.Error("control API: cannot encode an answer", "path", r.URL.Path, "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if tagged, ok := v.(interface{ etag() string }); ok {
		w.Header().Set("ETag", tagged.etag())
	}
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.log.Debug("control API: a client disconnected", "path", r.URL.Path, "error", err)
	}
}

func errorAnswer(err error) (status int, body ErrorBody) {
	var se *statusError
	var re *refusal
	switch {
	case errors.As(err, &se):
		return se.status, ErrorBody{Error: se.msg}
	case errors.As(err, &re):
		return http.StatusConflict, ErrorBody{Error: re.msg, Details: re.details}
	case errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable, ErrorBody{Error: err.Error()}
	case errors.Is(err, ErrMalformed):
		return http.StatusBadRequest, ErrorBody{Error: err.Error()}
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrNoEntry), errors.Is(err, ErrNoMember), errors.Is(err, ErrNoFilter), errors.Is(err, ErrNoSet), errors.Is(err, ErrNoCapture):
		return http.StatusNotFound, ErrorBody{Error: err.Error()}
	}
	return http.StatusInternalServerError, ErrorBody{Error: err.Error()}
}

func (s *Server) getSwitch(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	info := SwitchInfo{SwitchStatus: s.backend.Switch(), Totals: Counters{Drops: Tally{}, FDBEvents: Tally{}, McastEvents: Tally{}, NeighEvents: Tally{}, LoopEvents: Tally{}, Resets: Tally{}}}
	info.Ports = s.backend.Stats()
	for i := range info.Ports {
		info.Totals.add(&info.Ports[i].Counters)
	}
	return info, nil
}

func (s *Server) getPorts(r *http.Request) (any, error) {
	q, err := query(r, "kind")
	if err != nil {
		return nil, err
	}
	ports := s.backend.Ports()
	if kind := Kind(q.Get("kind")); q.Has("kind") {
		if !slices.Contains(Kinds, kind) {
			return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("kind is %q, must be one of %v", kind, Kinds)}
		}
		ports = slices.DeleteFunc(ports, func(p PortInfo) bool { return p.Kind != kind })
	}
	return List[PortInfo](ports), nil
}

func (s *Server) getPort(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return s.port(r.PathValue("name"))
}

// port returns a port, or an error that contains its name.
func (s *Server) port(name string) (PortDetail, error) {
	p, err := s.backend.Port(name)
	if errors.Is(err, ErrNotFound) {
		err = s.noPort(name)
	}
	return p, err
}

// noPort returns the error for the name of a port that does not exist.
func (s *Server) noPort(name string) error {
	var names []string
	for _, p := range s.backend.Stats() {
		names = append(names, p.Name)
	}
	return fmt.Errorf("%w: %q%s", ErrNotFound, name, nearest.Hint(name, names))
}

func (s *Server) getNeighbors(r *http.Request) (any, error) {
	vlan, err := onlyVLAN(r)
	if err != nil {
		return nil, err
	}
	return List[Neighbor](s.backend.Neighbors(vlan)), nil
}

// onlyVLAN returns the VLAN in the query of a request without other parameters; -1: there is none.
func onlyVLAN(r *http.Request) (int, error) {
	q, err := query(r, "vlan")
	if err != nil {
		return 0, err
	}
	return vlanOf(q)
}

// vlanOf returns the parameter vlan of a query; -1: there is none.
func vlanOf(q url.Values) (int, error) {
	v := q.Get("vlan")
	if v == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n > 4095 {
		return 0, &statusError{http.StatusBadRequest, fmt.Sprintf("vlan is %q, must be from 0 to 4095", v)}
	}
	return int(n), nil
}

func (s *Server) getMirrors(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return List[Mirror](s.backend.Mirrors()), nil
}

// query returns the query of a request. Unknown parameters are refused: if they were ignored, a
// misspelt filter would match everything.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, "the query is malformed"}
	}
	for k := range q {
		if !slices.Contains(known, k) {
			return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("unknown parameter %q", k)}
		}
	}
	return q, nil
}
