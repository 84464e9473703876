package loglimit_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/loglimit"
	"vswitchd/test/logbuf"
)

// lines returns what was logged since the last call.
func lines(b *logbuf.Buffer) []string {
	synctest.Wait()
	text := b.Take()
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSpace(text), "\n")
}

// newLogger returns a limited logger that writes no timestamps.
func newLogger(level hclog.Level) (hclog.Logger, *logbuf.Buffer) {
	b := new(logbuf.Buffer)
	return loglimit.New(hclog.New(&hclog.LoggerOptions{Output: b, Level: level, DisableTime: true})), b
}

// Some lines of a flood are written, the rest are counted, and the count is reported even if the
// flood has ended.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, buf := newLogger(hclog.Info)
		for i := range 1000 {
			l.With("port", "a").Warn("refused", "n", i)
		}
		l.Info("connected")
		got := lines(buf)
		if len(got) != loglimit.Burst+1 || got[0] != "[WARN]  refused: port=a n=0" || got[loglimit.Burst] != "[INFO]  connected" {
			t.Errorf("%d lines: %q", len(got), got)
		}
		time.Sleep(loglimit.Every)
		if got, want := fmt.Sprint(lines(buf)), `[[WARN]  lines suppressed: port=a lines=990 each=refused n=999]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		time.Sleep(time.Hour)
		if got := lines(buf); got != nil {
			t.Errorf("later: %q", got)
		}
		// A full burst is available again.
		for range 1000 {
			l.Warn("refused")
		}
		if got := lines(buf); len(got) != loglimit.Burst {
			t.Errorf("%d lines an hour later", len(got))
		}
	})
}

// In the long run there is one line in each interval, and every line is written or counted.
func TestLongRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, buf := newLogger(hclog.Info)
		const seconds = 1000
		for range seconds * 10 {
			l.Error("reset")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(loglimit.Every)
		written, counted := 0, 0
		for _, line := range lines(buf) {
			var n int
			if _, err := fmt.Sscanf(line, "[ERROR] lines suppressed: lines=%d each=reset", &n); err == nil {
				counted += n
			} else {
				written++
			}
			if strings.Count(line, "[") != 1 {
				t.Errorf("line %q", line)
			}
		}
		if most := loglimit.Burst + int(seconds*time.Second/loglimit.Every); written > most {
			t.Errorf("%d lines, want at most %d", written, most)
		}
		if written+counted != seconds*10 {
			t.Errorf("%d lines written and %d counted, of %d", written, counted, seconds*10)
		}
	})
}

// Lines below the logger's level are not counted, and levels for debugging are not limited.
func TestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, buf := newLogger(hclog.Warn)
		for range 100 {
			l.Info("x")
		}
		l.Warn("x")
		if got := lines(buf); len(got) != 1 {
			t.Errorf("%q", got)
		}
		l, buf = newLogger(hclog.Trace)
		for range 100 {
			l.Named("a").Trace("x")
			l.Debug("x")
		}
		if got := lines(buf); len(got) != 200 {
			t.Errorf("%d lines", len(got))
		}
	})
}

// Each logger from New has separate limits; the loggers derived from it share them.
func TestDerivedLoggersShareLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, buf := newLogger(hclog.Info)
		for range 100 {
			l.Named("b").With("x", 1).ResetNamed("c").Info("x")
			l.Info("x")
		}
		if got := lines(buf); len(got) != loglimit.Burst {
			t.Errorf("%d lines", len(got))
		}
	})
}
