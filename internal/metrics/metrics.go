package metrics

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"vswitchd/internal/control"
	"vswitchd/internal/httpserve"
)

// maxConns is the limit of connected clients: one more replaces the oldest.
const maxConns = 16

// format is the one format in which metrics are served.
var format = expfmt.NewFormat(expfmt.TypeTextPlain)

// Serve answers GET /metrics with the backend's values until ctx is done; then it closes l, gives
// requests in progress a second, and returns nil. Clients' errors are logged at level Debug.
func Serve(ctx context.Context, l net.Listener, backend control.Backend, log hclog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", newHandler(backend, log))
	err := httpserve.Serve(ctx, l, httpserve.Config{
		Handler: mux, MaxConns: maxConns, Logger: log,
		Idle: 2 * time.Minute, // longer than the usual interval between scrapes
	})
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// handler answers scrapes.
type handler struct {
	backend control.Backend
	process *prometheus.Registry // of the Go runtime and the process
	log     hclog.Logger

	// mu is held while an answer is made, but not while it is sent: clients that send many requests
	// occupy one processor at most.
	mu   sync.Mutex
	size int // of the last answer, in bytes
}

func newHandler(backend control.Backend, log hclog.Logger) *handler {
	h := &handler{backend: backend, process: prometheus.NewRegistry(), log: log}
	h.process.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return h
}

// ServeHTTP implements http.Handler. The answer is not compressed, which would take longer than to
// make the answer.
func (h *handler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, err := h.scrape()
	if err != nil {
		h.log.Error("metrics: cannot make an answer", "error", err)
		http.Error(w, "the metrics could not be collected", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	if _, err := w.Write(body); err != nil {
		h.log.Debug("metrics: a client disconnected", "error", err)
	}
}

// scrape returns the values of all metrics.
func (h *handler) scrape() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := text{buf: make([]byte, 0, h.size+h.size/8)}
	s := newSnapshot(h.backend)
	for i := range families {
		t.begin(&families[i])
		families[i].samples(&t, s)
	}
	b := bytes.NewBuffer(t.buf)
	others, err := h.process.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the metrics of the process: %w", err)
	}
	encoder := expfmt.NewEncoder(b, format)
	for _, f := range others {
		if err := encoder.Encode(f); err != nil {
			return nil, fmt.Errorf("encoding %s: %w", f.GetName(), err)
		}
	}
	h.size = b.Len()
	return b.Bytes(), nil
}

// A snapshot is what one answer is made of.
type snapshot struct {
	status  control.SwitchStatus
	ports   []port
	mirrors []control.Mirror
	filters []control.Filter
}

// A port is a port with the reasons that its kind counts.
type port struct {
	control.PortStats
	control.Reasons
}

func newSnapshot(b control.Backend) *snapshot {
	s := &snapshot{status: b.Switch(), mirrors: b.Mirrors(), filters: b.Filters()}
	reasons := make(map[control.Kind]control.Reasons)
	for _, k := range control.Kinds {
		reasons[k] = b.Reasons(k)
	}
	for _, p := range b.Stats() {
		s.ports = append(s.ports, port{p, reasons[p.Kind]})
	}
	return s
}
