package main

import (
	"bytes"
	"io"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
)

// newLogger returns a logger that writes to w. If journald reads w, each line begins with its
// priority (sd-daemon(3)), which journald removes, and has no time, which journald adds.
func newLogger(c config.Log, w io.Writer, byJournal bool) hclog.Logger {
	o := &hclog.LoggerOptions{
		Name:       "vswitchd",
		Level:      hclog.LevelFromString(c.Level),
		Output:     w,
		JSONFormat: c.JSON(),
	}
	if byJournal {
		o.DisableTime = true
		o.Output = hclog.NewLeveledWriter(priority{w, "<6>"}, map[hclog.Level]io.Writer{
			hclog.Trace: priority{w, "<7>"},
			hclog.Debug: priority{w, "<7>"},
			hclog.Warn:  priority{w, "<4>"},
			hclog.Error: priority{w, "<3>"},
		})
	}
	return hclog.New(o)
}

// readByJournal reports whether journald reads standard error.
func readByJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// A priority writes a message with a priority in front of each line.
type priority struct {
	w      io.Writer
	prefix string
}

func (p priority) Write(message []byte) (int, error) {
	var out []byte
	for line := range bytes.Lines(message) {
		out = append(append(out, p.prefix...), line...)
	}
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(message), nil
}
