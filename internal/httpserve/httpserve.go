// Package httpserve serves HTTP to clients that may be slow or malicious, until it is told to stop.
package httpserve

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/connlimit"
)

// Config is what a server needs. All fields have to be set.
type Config struct {
	Handler  http.Handler
	MaxConns int           // connected clients: one more replaces the oldest
	Idle     time.Duration // how long a connection without requests stays open

	// Logger gets clients' errors at level Debug, because their number is not limited.
	Logger hclog.Logger
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// Stream lets the answer to a request take any time, and its client read as slowly as it wants. Its
// connection is not among the Config.MaxConns, and is not closed for another. The caller bounds the
// number of streams, and ends the answer when the request's context is done: when the client
// disconnects, or Serve is to stop. The body of the request has been read.
func Stream(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // a server's connections have deadlines
	_ = rc.SetWriteDeadline(time.Time{})
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		connlimit.Exempt(c)
	}
}

// Conn returns the connection of a request, as the listener has accepted it. It is only for looking
// at.
func Conn(r *http.Request) net.Conn {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	return connlimit.Inner(c)
}

// Own returns the connection that was hijacked, as the listener has accepted it. It is not among
// the Config.MaxConns.
func Own(c net.Conn) net.Conn {
	connlimit.Exempt(c)
	return connlimit.Inner(c)
}

// Serve answers requests that arrive through l until ctx is done; then it closes l, gives requests
// in progress a second, and returns nil. It returns an error if l fails. The context of a request
// is done when ctx is done.
//
// A client that does not send or does not read occupies a connection, and nothing else, for some
// seconds: handlers must not hold a lock while they write.
func Serve(ctx context.Context, l net.Listener, cfg Config) error {
	server := http.Server{
		Handler:           cfg.Handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       cfg.Idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(connlimit.New(l, cfg.MaxConns))
	if ctx.Err() == nil {
		return err
	}
	<-stopped
	return nil
}
