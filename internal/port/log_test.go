package port

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// Loggers that were derived before a port was renamed log the port's new name.
func TestLogOfARenamedPort(t *testing.T) {
	var out bytes.Buffer
	l := NewLog(hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Trace}), "a")
	lines := 0 // makes each message different, because lines with the same message are rate-limited
	for _, log := range []hclog.Logger{l, l.With("ring", 1), l.Named("x"), l.ResetNamed("y")} {
		for _, name := range []string{"a", "b"} {
			l.Rename(name)
			for _, logLine := range []func(string, ...any){log.Trace, log.Debug, log.Info, log.Warn, log.Error,
				func(msg string, args ...any) { log.Log(hclog.Info, msg, args...) }} {
				out.Reset()
				lines++
				logLine(fmt.Sprint("hello ", lines), "n", 7)
				if got := out.String(); strings.Count(got, "port=") != 1 || !strings.Contains(got, "port="+name) || !strings.Contains(got, "n=7") {
					t.Errorf("a port named %s logs %s", name, got)
				}
			}
		}
	}
}
