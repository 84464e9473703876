package port

import (
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/loglimit"
)

// A Log adds the port's current name to every line. A port can be renamed while a session that uses
// the logger continues.
type Log struct {
	hclog.Logger
	name *atomic.Pointer[string]
}

// NewLog returns a logger for a port. It limits the rate of lines of one kind, because a peer can
// trigger them.
func NewLog(l hclog.Logger, name string) Log {
	p := Log{loglimit.New(l), new(atomic.Pointer[string])}
	p.Rename(name)
	return p
}

// Rename changes the name of the port in this logger and in all loggers derived from it.
func (p Log) Rename(name string) { p.name.Store(&name) }

func (p Log) named(args []any) []any { return append([]any{"port", *p.name.Load()}, args...) }

// Log implements hclog.Logger, like the methods below.
func (p Log) Log(level hclog.Level, msg string, args ...any) {
	p.Logger.Log(level, msg, p.named(args)...)
}

func (p Log) Trace(msg string, args ...any) { p.Logger.Trace(msg, p.named(args)...) }
func (p Log) Debug(msg string, args ...any) { p.Logger.Debug(msg, p.named(args)...) }
func (p Log) Info(msg string, args ...any)  { p.Logger.Info(msg, p.named(args)...) }
func (p Log) Warn(msg string, args ...any)  { p.Logger.Warn(msg, p.named(args)...) }
func (p Log) Error(msg string, args ...any) { p.Logger.Error(msg, p.named(args)...) }

func (p Log) With(args ...any) hclog.Logger { return Log{p.Logger.With(args...), p.name} }

func (p Log) Named(name string) hclog.Logger { return Log{p.Logger.Named(name), p.name} }

func (p Log) ResetNamed(name string) hclog.Logger {
	return Log{p.Logger.ResetNamed(name), p.name}
}
