package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/daemon"
)

// A desk is a switch with a configuration file, and an operator's commands.
type desk struct {
	*testing.T
	dir, file, socket string
}

// newDesk starts a switch with the given configuration, in which $ is the directory of its sockets.
// The switch ends with the test.
func newDesk(t *testing.T, text string, flags config.Flags) *desk {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-") // t.TempDir's may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &desk{T: t, dir: dir, file: filepath.Join(dir, "v.toml"), socket: filepath.Join(dir, "control")}
	text = strings.ReplaceAll(text, "$", dir)
	if err := os.WriteFile(d.file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	cfg, running, errs := daemon.Kinds().LoadRunning(d.file, flags)
	if errs != nil {
		t.Fatal(errs)
	}
	sw, err := daemon.New(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(t.Context(), d.socket, control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	c := daemon.NewConfiguration(sw, d.file, flags, cfg, running)
	go func() { done <- sw.Run(ctx) }()
	go func() { done <- control.NewServer(sw.Backend(), c, hclog.NewNullLogger()).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

// run runs a command, and returns what it prints: on standard error, if it fails, with its exit
// code, and without the help about its usage.
func (d *desk) run(args ...string) string {
	d.Helper()
	var stdout, stderr bytes.Buffer
	code := run(append([]string{"--control", d.socket}, args...), &stdout, &stderr)
	out := stdout.String()
	if code != 0 {
		text, _, _ := strings.Cut(stderr.String(), "Usage:")
		out += fmt.Sprintf("exit %d: %s", code, strings.TrimPrefix(text, "vswitchctl: "))
	}
	return strings.ReplaceAll(out, d.dir, "$")
}

// text returns what the configuration file has.
func (d *desk) text() string {
	d.Helper()
	text, err := os.ReadFile(d.file)
	if err != nil {
		d.Fatal(err)
	}
	return strings.ReplaceAll(string(text), d.dir, "$")
}

// words splits a command line at blanks, except within single quotes.
func words(line string) (args []string) {
	for _, m := range regexp.MustCompile(`(?:[^\s']|'[^']*')+`).FindAllString(line, -1) {
		args = append(args, strings.ReplaceAll(m, "'", ""))
	}
	return args
}

// TestEdit runs the sessions of operators in testdata/edit: what commands print, what is in the
// configuration file then, and that a switch that starts with the file, after everything was saved,
// has the same configuration.
func TestEdit(t *testing.T) {
	datadriven.Walk(t, "testdata/edit", func(t *testing.T, path string) {
		var d *desk
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			switch td.Cmd {
			case "start":
				var flags config.Flags
				td.MaybeScanArgs(t, "port", &flags.Ports)
				d = newDesk(t, td.Input, flags)
				return ""
			case "write":
				if err := os.WriteFile(d.file, []byte(strings.ReplaceAll(td.Input, "$", d.dir)+"\n"), 0o640); err != nil {
					t.Fatal(err)
				}
				return ""
			case "file":
				return d.text()
			case "run":
				var out strings.Builder
				for line := range strings.Lines(td.Input) {
					out.WriteString(d.run(words(line)...))
				}
				return out.String()
			}
			t.Fatalf("unknown command %s", td.Cmd)
			return ""
		})
	})
}
