package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

// A monitor is a vswitchctl monitor that runs.
type monitor struct {
	*testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr strings.Builder
}

// startMonitor builds vswitchctl and starts its monitor.
func startMonitor(t *testing.T, socket string, args ...string) *monitor {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "vswitchctl")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := &monitor{T: t, cmd: exec.Command(bin, append([]string{"--control", socket, "monitor"}, args...)...)}
	m.cmd.Stderr = &m.stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	m.lines = bufio.NewScanner(out)
	return m
}

// next returns the next line.
func (m *monitor) next() string {
	m.Helper()
	if !m.lines.Scan() {
		m.Fatalf("there are no more lines: %v %s", m.cmd.Wait(), &m.stderr)
	}
	return m.lines.Text()
}

// ends waits for the end, and returns the exit code and what was written to standard error.
func (m *monitor) ends() (code int, stderr string) {
	m.Helper()
	for m.lines.Scan() {
	}
	err := m.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	return m.cmd.ProcessState.ExitCode(), m.stderr.String()
}

// Events are printed as lines for people, in columns.
func TestMonitorPrintsLines(t *testing.T) {
	d := newDesk(t, "[switch]\nsocket_dir = \"$\"\n[port.vm1]\n[port.vm2]\n", config.Flags{})
	m := startMonitor(t, d.socket, "vm1", "--kind", "fdb,port")
	m.next()
	d.run("fdb", "add", "52:54:00:00:00:01", "vm2")
	d.run("fdb", "add", "52:54:00:00:00:02", "vm1", "--vlan", "7")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d\d\d  fdb       vm1              added 52:54:00:00:00:02 in VLAN 7, static$`)
	if got := m.next(); !want.MatchString(got) {
		t.Errorf("got %q, want %s", got, want)
	}
	d.run("port", "set", "vm1", "tag=9")
	if got := m.next(); !strings.HasSuffix(got, "  port      vm1              reconfigured: tag, vlan_mode") {
		t.Errorf("got %q", got)
	}
	if err := m.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code, stderr := m.ends(); code != exitOK || stderr != "" {
		t.Errorf("after SIGINT: exit code %d, %q", code, stderr)
	}
}

// With -j, each line is a JSON value, the first ones what there is.
func TestMonitorPrintsJSON(t *testing.T) {
	d := newDesk(t, "[switch]\nsocket_dir = \"$\"\n[port.vm1]\n", config.Flags{})
	m := startMonitor(t, d.socket, "-j", "--snapshot")
	for _, want := range []string{"stream started ", "port present vm1", "stream synced "} {
		var e event
		if line := m.next(); json.Unmarshal([]byte(line), &e) != nil || string(e.Kind)+" "+e.Event+" "+e.Port != want {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, stderr := m.ends(); code != exitOK || stderr != "" {
		t.Errorf("after SIGTERM: exit code %d, %q", code, stderr)
	}
}

// When vswitchd stops, the monitor says so; when its connection breaks, likewise.
func TestMonitorEndsWithVswitchd(t *testing.T) {
	b := controltest.Sample()
	socket := serveWith(t, b, reloads)
	m := startMonitor(t, socket)
	m.next()
	b.Events.Close()
	if code, stderr := m.ends(); code != exitNoDaemon || stderr != "vswitchctl: vswitchd is not running any more: it was stopped\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	err := (&client{out: io.Discard}).printEvents(control.NewEventReader(io.NopCloser(strings.NewReader("id: 1\n"))))
	if !errors.Is(err, io.EOF) {
		t.Errorf("a connection that breaks: %v", err)
	}
}
