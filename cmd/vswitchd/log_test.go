package main

import (
	"strings"
	"testing"

	"vswitchd/internal/config"
)

// What journald reads has a priority on each line, and no time.
func TestLogForTheJournal(t *testing.T) {
	var out strings.Builder
	log := newLogger(config.Log{Level: "trace", Format: "text"}, &out, true)
	log.Trace("a")
	log.Debug("b")
	log.Info("c")
	log.Warn("d", "why", "two\nlines")
	log.Named("port").Error("e")
	const want = `<7>[TRACE] vswitchd: a
<7>[DEBUG] vswitchd: b
<6>[INFO]  vswitchd: c
<4>[WARN]  vswitchd: d:
<4>  why=
<4>  | two
<4>  | lines
<4>  
<3>[ERROR] vswitchd.port: e
`
	if out.String() != want {
		t.Errorf("the log is\n%s, not\n%s", out.String(), want)
	}
}

// What anybody else reads has a time, and no priority.
func TestLogForPeople(t *testing.T) {
	var out strings.Builder
	newLogger(config.Log{Level: "info", Format: "text"}, &out, false).Info("c")
	if s := out.String(); !strings.HasPrefix(s, "20") || !strings.HasSuffix(s, " [INFO]  vswitchd: c\n") {
		t.Errorf("the log is %q", s)
	}
}
