// Package loglimit keeps a log readable, and its disk free, when a peer can cause lines to be
// logged as often as it likes.
package loglimit

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Limits for lines with the same message.
const (
	Burst = 10               // lines at once
	Every = 10 * time.Second // then one line per interval
)

// A limiter is shared by a logger and the loggers that are derived from it.
type limiter struct {
	mu    sync.Mutex
	kinds map[string]*kind
}

// A kind is all lines with the same message, which must be a constant of the program.
type kind struct {
	full       time.Time // when the whole Burst will be available again
	suppressed int       // lines suppressed since the last one that was written
	last       []any     // arguments of the last suppressed line
	timer      *time.Timer
}

// A logger is a Logger whose lines of level Info and above are limited.
type logger struct {
	hclog.Logger
	limit *limiter
}

// New returns a logger that writes to l, with l's name and arguments, but at most Burst lines with
// the same message at once, and then one per Every. The number of suppressed lines is reported when
// the next line of the kind is due, whether or not there is one, with the arguments of the last
// suppressed line.
//
// Loggers derived from it by With and the like share its limits. Lines of level Debug and Trace are
// not limited: whoever enables these levels wants all of them.
func New(l hclog.Logger) hclog.Logger {
	return &logger{l, &limiter{kinds: make(map[string]*kind)}}
}

// pass reports whether a line may be written. Otherwise, report is called later, by another
// goroutine, with the number of suppressed lines and the arguments of the last of them.
func (l *limiter) pass(msg string, args []any, report func(n int, last []any)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[msg]
	if k == nil {
		k = new(kind)
		l.kinds[msg] = k
	}
	now := time.Now()
	if k.full.Before(now) {
		k.full = now
	}
	if k.suppressed == 0 && k.full.Sub(now) <= (Burst-1)*Every {
		k.full = k.full.Add(Every)
		return true
	}
	k.suppressed++
	k.last = args
	if k.timer == nil {
		due := k.full.Add(-(Burst - 1) * Every)
		k.timer = time.AfterFunc(due.Sub(now), func() {
			l.mu.Lock()
			n, last := k.suppressed, k.last
			k.suppressed, k.last, k.timer = 0, nil, nil
			k.full = k.full.Add(Every) // the report is a line, too
			l.mu.Unlock()
			report(n, last)
		})
	}
	return false
}

// Log implements hclog.Logger, as do the methods below.
func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Info || level < l.GetLevel() {
		l.Logger.Log(level, msg, args...)
		return
	}
	report := func(n int, last []any) {
		l.Logger.Log(level, "lines suppressed", append([]any{"lines", n, "each", msg}, last...)...)
	}
	if l.limit.pass(msg, args, report) {
		l.Logger.Log(level, msg, args...)
	}
}

func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) With(args ...any) hclog.Logger    { return &logger{l.Logger.With(args...), l.limit} }
func (l *logger) Named(name string) hclog.Logger   { return &logger{l.Logger.Named(name), l.limit} }
func (l *logger) ResetNamed(n string) hclog.Logger { return &logger{l.Logger.ResetNamed(n), l.limit} }
