package httpserve

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A deadlines is a ResponseWriter that notes its deadlines.
type deadlines struct {
	http.ResponseWriter
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

// A stream has no deadlines.
func TestStreamsHaveNoDeadlines(t *testing.T) {
	soon := time.Now().Add(time.Second)
	w := &deadlines{httptest.NewRecorder(), soon, soon}
	Stream(w, httptest.NewRequest("POST", "/", nil))
	if !w.read.IsZero() || !w.write.IsZero() {
		t.Errorf("the deadlines are %v and %v", w.read, w.write)
	}
}

// A stream is not closed to make room for other connections, and its request's context is done when
// the server is to stop.
func TestStreamsStayUntilTheServerStops(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		Stream(w, r)
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		_, _ = io.WriteString(w, " end")
	})
	mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "other") })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() {
		done <- Serve(ctx, l, Config{Handler: mux, MaxConns: 2, Idle: time.Minute, Logger: hclog.NewNullLogger()})
	}()
	get := func(path string) *http.Response {
		t.Helper()
		c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}}
		resp, err := c.Get("http://s" + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	stream := get("/stream")
	if _, err := io.ReadFull(stream.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		get("/other")
	}
	cancel()
	if rest, err := io.ReadAll(stream.Body); err != nil || string(rest) != " end" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
