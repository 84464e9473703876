package status

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/httpserve"
)

const (
	// maxConns is the limit of connected clients: one more replaces the oldest. A browser has up to
	// six connections.
	maxConns = 32

	// maxStreams is the limit of pages that are told of events as they happen. A connection with a
	// stream is not among those of maxConns.
	maxStreams = 8

	// events is the path whose answer is a stream.
	events = "/v1/events"
)

//go:embed page
var page embed.FS

// Config is what a server of the page needs.
type Config struct {
	API    http.Handler // answers GET requests for /v1/
	Hosts  []string     // names of this machine that browsers may use
	Logger hclog.Logger
}

// Serve serves the page through l until ctx is done; then it closes l, gives requests in progress a
// second, and returns nil. Clients' errors are logged at level Debug.
func Serve(ctx context.Context, l net.Listener, cfg Config) error {
	err := httpserve.Serve(ctx, l, httpserve.Config{
		Handler: newHandler(cfg), MaxConns: maxConns, Idle: 30 * time.Second, Logger: cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	return nil
}

func newHandler(cfg Config) http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // never: the folder is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("GET /v1/", cfg.API)
	mux.Handle("GET "+events, limited(cfg.API, maxStreams))
	return guarded(mux, cfg.Hosts)
}

// limited answers at most n requests at a time.
func limited(h http.Handler, n int) http.Handler {
	running := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
			h.ServeHTTP(w, r)
		default:
			http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		}
	})
}

// policy permits the page what it does, and nothing else: scripts, styles and answers of this
// server, and being shown by itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded refuses requests that other sites may have caused, and forbids the page to do what it
// does not need.
func guarded(h http.Handler, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-cache")
		switch {
		case !permitted(r.Host, hosts):
			http.Error(w, "this is not a name of this server: see status_hosts", http.StatusMisdirectedRequest)
		case fromElsewhere(r):
			http.Error(w, "another site has asked for this", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// permitted reports whether the host of a request is an address, localhost or one of hosts, with or
// without a port. Any other name may belong to somebody who makes it point to this server, so that
// the browser takes his page and this one for the same site (DNS rebinding).
func permitted(host string, hosts []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") ||
		slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(name, h) })
}

// fromElsewhere reports whether a browser says that a page of another site has made the request,
// except that people may follow links to the page itself.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.URL.Path != "/"
}
