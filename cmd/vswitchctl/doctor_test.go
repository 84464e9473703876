package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
	"vswitchd/internal/doctor"
	"vswitchd/internal/layout"
)

func TestDoctorReport(t *testing.T) {
	var out bytes.Buffer
	page := &layout.Page{Writer: &out, Width: 60}
	printReport(page, doctor.Report{SampledS: 2.03, Ports: 1, Checks: 70, Findings: []doctor.Finding{
		{
			ID: "small-ring", Severity: doctor.Warning, Port: "vm1", Problem: "frames find the ring full",
			Evidence: control.Settings{{Key: "ring_size", Value: 256}, {Key: "qemu_rx_queue_size", Value: ""}, {Key: "per_s", Value: 9.5}},
			Advice:   []string{"QEMU: rx_queue_size=1024 in -device, or <driver rx_queue_size='1024'/>", "more queues"},
		},
		{ID: "fdb-nearly-full", Severity: doctor.Note, Problem: "the table is full", Evidence: control.Settings{{Key: "entries", Value: 7}}},
		{ID: "fdb-nearly-full", Severity: doctor.Note, Problem: "the table is full"},
	}})
	printReport(page, doctor.Report{SampledS: 0.1, Ports: 2})
	golden(t, filepath.Join("testdata", "doctor.golden"), out.String())
}

// doctorOf runs the command on a switch.
func doctorOf(t *testing.T, socket string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"--control", socket, "doctor", "--interval", "100ms"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestDoctorExitCodes(t *testing.T) {
	sample := serve(t, reloads)
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string // what they contain
	}{
		{"", exitFindings, "error: port wan: the port is blocked", ""},
		{"vm2", exitFindings, "no front-end has connected (no-front-end)", ""},
		{"lan", exitOK, "in 1 port, by", ""},
		{"nobody", exitFailed, "", "no such port"},
		{"vm1 vm2", exitUsage, "", "unexpected argument"},
		{"--interval 0s", exitUsage, "", "--interval must be from 100ms"},
	} {
		code, stdout, stderr := doctorOf(t, sample, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%q: exit code %d\n%s%s", tt.args, code, stdout, stderr)
		}
	}
	if code, _, _ := doctorOf(t, filepath.Join(t.TempDir(), "nobody")); code != exitNoDaemon {
		t.Errorf("exit code %d without a daemon", code)
	}
}

func TestDoctorInJSON(t *testing.T) {
	code, stdout, _ := doctorOf(t, serve(t, reloads), "-j")
	var r doctor.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitFindings {
		t.Fatalf("exit code %d, %v: %s", code, err, stdout)
	}
	ids := doctor.IDs()
	for _, f := range r.Findings {
		if !slices.Contains(ids, f.ID) || len(f.Evidence) == 0 || len(f.Advice) == 0 {
			t.Errorf("%+v", f)
		}
	}
	if r.Ports != len(controltest.Sample().Details) || r.SampledS < 0.1 {
		t.Errorf("%+v", r)
	}
}

func TestObserve(t *testing.T) {
	dir := t.TempDir()
	socket, gone := filepath.Join(dir, "vm1.sock"), filepath.Join(dir, "vm2.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o640); err != nil {
		t.Fatal(err)
	}
	for pid, line := range map[string]string{"7": "qemu\x00-chardev\x00socket,path=" + socket + "\x00", "8": "qemu\x00-other\x00", "self": socket} {
		if err := os.MkdirAll(filepath.Join(dir, "proc", pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "proc", pid, "cmdline"), []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ports := []control.PortDetail{{PortInfo: control.PortInfo{Socket: socket}}, {PortInfo: control.PortInfo{Socket: gone}}, {}}

	h := observe(filepath.Join(dir, "proc"), socket, ports, true)
	want := []doctor.Process{{PID: 7, Args: []string{"qemu", "-chardev", "socket,path=" + socket}}}
	if diff := cmp.Diff(want, h.Processes); diff != "" {
		t.Error(diff)
	}
	if f := h.Sockets[socket]; !f.Exists || f.Mode != fs.ModeSocket|0o640 || !strings.Contains(f.Owner, ":") || f != h.ControlSocket {
		t.Errorf("%+v", h)
	}
	if f, known := h.Sockets[gone]; !known || f.Exists {
		t.Errorf("%+v", h)
	}
	if h := observe(dir, socket, ports, false); len(h.Sockets) > 0 || len(h.Processes) > 0 {
		t.Errorf("in another place: %+v", h)
	}
	if f, known := lookAt(filepath.Join(dir, "proc", "7", "cmdline")); !known || f.Exists {
		t.Error("a file is taken for a socket")
	}
	if _, known := lookAt(filepath.Join(socket, "x")); known {
		t.Error("a path that cannot be looked at is known")
	}
}

// docs/doctor.md has every check, and no other.
func TestEveryCheckIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		cells := strings.SplitN(line, "|", 3)
		if len(cells) < 3 || strings.Contains(cells[1], "`error`") || strings.Contains(cells[1], "`warning`") || strings.Contains(cells[1], "`note`") {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, m[1])
		}
	}
	ids := doctor.IDs()
	slices.Sort(ids)
	slices.Sort(documented)
	if diff := cmp.Diff(ids, documented); diff != "" {
		t.Error(diff)
	}
}

// The commands that findings advise exist, and the keys that they set.
func TestAdvisedCommandsExist(t *testing.T) {
	files, err := filepath.Glob("../../internal/doctor/*.go")
	if err != nil {
		t.Fatal(err)
	}
	root, commands, assignments := newRoot(io.Discard), 0, 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`vswitchctl ((?:[\w=-]+ ?)+)`).FindAllStringSubmatch(string(text), -1) {
			if words := strings.Fields(m[1]); subcommand(root, words[0]) != nil {
				commands++
				if problem := check(root, words); problem != "" {
					t.Errorf("%s: vswitchctl %s: %s", file, m[1], problem)
				}
			}
		}
		for _, m := range regexp.MustCompile(`(?:set\("|\{set\} |switch set )([a-z_]+)=`).FindAllStringSubmatch(string(text), -1) {
			assignments++
			if !slices.ContainsFunc([]string{"port", "uplink", "host", "switch"}, func(table string) bool {
				return slices.ContainsFunc(keysOf(headerOf(table)), func(k keyInfo) bool { return k.Name == m[1] })
			}) {
				t.Errorf("%s: there is no key %s", file, m[1])
			}
		}
	}
	if commands < 10 || assignments < 15 {
		t.Errorf("%d commands and %d assignments found", commands, assignments)
	}
}
