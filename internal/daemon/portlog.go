package daemon

import (
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/loglimit"
)

// A portLog puts the name of a port into every line, as it is at that moment: a port may be
// renamed while a session that has the logger goes on.
type portLog struct {
	hclog.Logger
	name *atomic.Pointer[string]
}

func newPortLog(l hclog.Logger, name string) portLog {
	p := portLog{loglimit.New(l), new(atomic.Pointer[string])}
	p.rename(name)
	return p
}

func (p portLog) rename(name string) { p.name.Store(&name) }

func (p portLog) named(args []any) []any { return append([]any{"port", *p.name.Load()}, args...) }

// Log implements hclog.Logger, like the methods below.
func (p portLog) Log(level hclog.Level, msg string, args ...any) {
	p.Logger.Log(level, msg, p.named(args)...)
}

func (p portLog) Trace(msg string, args ...any) { p.Logger.Trace(msg, p.named(args)...) }
func (p portLog) Debug(msg string, args ...any) { p.Logger.Debug(msg, p.named(args)...) }
func (p portLog) Info(msg string, args ...any)  { p.Logger.Info(msg, p.named(args)...) }
func (p portLog) Warn(msg string, args ...any)  { p.Logger.Warn(msg, p.named(args)...) }
func (p portLog) Error(msg string, args ...any) { p.Logger.Error(msg, p.named(args)...) }

func (p portLog) With(args ...any) hclog.Logger { return portLog{p.Logger.With(args...), p.name} }

func (p portLog) Named(name string) hclog.Logger { return portLog{p.Logger.Named(name), p.name} }

func (p portLog) ResetNamed(name string) hclog.Logger {
	return portLog{p.Logger.ResetNamed(name), p.name}
}
