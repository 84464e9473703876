package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// serve serves the sample switch until the test ends, and returns the socket.
func serve(t *testing.T, config control.Configuration) string {
	t.Helper()
	return serveWith(t, controltest.Sample(), config)
}

// serveWith serves a switch until the test ends, and returns the socket.
func serveWith(t *testing.T, b control.Backend, config control.Configuration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), path, control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	s := control.NewServer(b, config, hclog.NewNullLogger())
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

var reloads = &controltest.Configuration{Change: control.ConfigChange{Changed: []string{"port vm4 added", "port vm1: tag 7 -> 8"}}}

func TestOutput(t *testing.T) {
	socket := serve(t, reloads)
	for _, tt := range []struct{ golden, args string }{
		{"show", "show"},
		{"port-show", "port show"},
		{"uplink-show", "uplink show"},
		{"port-show-guest", "port show vm1"},
		{"port-show-blocked", "port show wan"},
		{"port-show-uplink", "port show lan"},
		{"port-show-error", "port show vm3"},
		{"port-show-tunnel", "port show vm2"},
		{"fdb-show", "fdb show"},
		{"fdb-show-filtered", "fdb show --port vm1 --vlan 7"},
		{"fdb-show-empty", "fdb show --port vm2"},
		{"fdb-add", "fdb add 52:54:00:00:00:07 vm1 --vlan 7 --sticky"},
		{"fdb-add-blackhole", "fdb add 52-54-00-00-00-07 --blackhole"},
		{"fdb-del", "fdb del 52:54:00:00:00:99"},
		{"fdb-flush", "fdb flush --vlan 0 --kind dynamic,sticky"},
		{"mdb-show", "mdb show"},
		{"mdb-show-filtered", "mdb show --vlan 7"},
		{"mdb-show-empty", "mdb show --vlan 8"},
		{"mdb-add", "mdb add 239.9.9.9 vm1 --vlan 7 --source 10.0.0.5"},
		{"mdb-del", "mdb del 239.1.1.2 vm1 --vlan 7"},
		{"neigh-show", "neigh show"},
		{"neigh-show-filtered", "neigh show --vlan 8"},
		{"mirror-show", "mirror show"},
		{"capture-show", "capture show"},
		{"capture-help", "capture --help"},
		{"trace", "trace vm1 --frame 525400000002525400000001080045"},
		{"trace-json", "-j trace vm1 --frame 5254:0000:0002:525400000001080045"},
		{"trace-help", "trace --help"},
		{"top-help", "top --help"},
		{"port-show-colors", "port show --color=always"},
		{"filter-show", "filter show"},
		{"filter-show-one", "filter show web"},
		{"set-show", "set show"},
		{"set-show-one", "set show admins"},
		{"set-add", "set add admins 10.9.0.1 fd00::/64 80 90-99"},
		{"stats-show", "stats show"},
		{"stats-show-port", "stats show vm1"},
		{"stats-show-total", "stats show --total"},
		{"stats-reset", "stats reset"},
		{"stats-reset-port", "stats reset vm1"},
		{"monitor-help", "monitor --help"},
		{"reload", "reload"},
		{"port-show-json", "-j port show vm1"},
		{"help", "--help"},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"--control", socket}, strings.Fields(tt.args)...)
			if code := run(args, &stdout, &stderr); code != exitOK || stderr.Len() > 0 {
				t.Fatalf("exit code %d: %s", code, &stderr)
			}
			golden(t, filepath.Join("testdata", tt.golden+".golden"), stdout.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", file, diff)
	}
}

func TestJSONIsOneValueOfTheRightKind(t *testing.T) {
	socket := serve(t, reloads)
	for args, first := range map[string]json.Delim{
		"show": '{', "port show": '[', "port show vm2": '{', "fdb show": '[', "fdb show --port vm2": '[', "mdb show": '{', "mdb add 239.9.9.9 vm1": '{',
		"fdb add 52:54:00:00:00:07 vm1": '{', "fdb del 52:54:00:00:00:99": '{', "fdb flush": '{',
		"neigh show": '[', "mirror show": '[', "capture show": '[', "filter show": '[', "filter show web": '{', "set show": '[', "set show admins": '{', "set del admins 22": '{',
		"stats show": '[', "stats show vm1": '{', "stats reset": '{', "stats reset vm1": '{', "reload": '{', "version": '{',
	} {
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"--control", socket, "-j"}, strings.Fields(args)...), &stdout, &stderr); code != exitOK {
			t.Errorf("%s: exit code %d: %s", args, code, &stderr)
			continue
		}
		if !json.Valid(stdout.Bytes()) {
			t.Errorf("%s: not one JSON value: %s", args, &stdout)
		}
		if tok, err := json.NewDecoder(&stdout).Token(); err != nil || tok != first {
			t.Errorf("%s: begins with %v (%v), want %v", args, tok, err, first)
		}
	}
}

// TestExitCodes runs the program itself.
func TestExitCodes(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "vswitchctl")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	socket := serve(t, &controltest.Configuration{Err: errors.New("f:3: tag: is 5000, must be from 0 to 4095")})
	nobody := filepath.Join(t.TempDir(), "nobody")
	for _, tt := range []struct {
		socket, args string
		code         int
		stderr       string // how it begins
	}{
		{socket, "show", 0, ""},
		{socket, "port show vm1", 0, ""},
		{socket, "--version", 0, ""},
		{socket, "version", 0, ""},
		{nobody, "version", 0, ""},
		{socket, "help port show", 0, ""},
		{socket, "help shwo", 2, `vswitchctl: unknown command "shwo"; did you mean "show"?` + "\nUsage:"},
		{socket, "help port shwo", 2, `vswitchctl: unknown command "port shwo"; did you mean "show"?` + "\nUsage:"},
		{socket, "port show nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{socket, "port show a/b", 1, `vswitchctl: no such port: "a/b"` + "\n"},
		{socket, "stats show nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{socket, "stats reset nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{socket, "stats reset vm1 vm2", 2, `vswitchctl: unexpected argument "vm2"` + "\nUsage:"},
		{socket, "monitor nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{socket, "monitor --kind fdb,sesion", 2, `vswitchctl: --kind: unknown kind "sesion"; did you mean "session"?` + "\nUsage:"},
		{nobody, "monitor", 3, "vswitchctl: vswitchd is not running: "},
		{socket, "fdb show --port nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{socket, "filter show wbe", 1, `vswitchctl: no such filter: "wbe"; did you mean "web"?` + "\n"},
		{socket, "set show admin", 1, `vswitchctl: no such set: "admin"; did you mean "admins"?` + "\n"},
		{socket, "set add admin 10.0.0.1", 1, `vswitchctl: no such set: "admin"; did you mean "admins"?` + "\n"},
		{socket, "set add admins refused", 1, "vswitchctl: change refused, nothing has changed\nset admins: refused\nfor two reasons\n"},
		{socket, "set add admins malformed", 1, "vswitchctl: malformed request: addresses: element 0 is wrong\n"},
		{socket, "set add", 2, "vswitchctl: the name of the set is missing\nUsage:"},
		{socket, "set del admins", 2, "vswitchctl: an entry is missing: an address, a prefix, a port or a range of ports\nUsage:"},
		{socket, "reload", 1, "vswitchctl: reload refused, nothing has changed\nf:3: tag: is 5000, must be from 0 to 4095\n"},
		{socket, "", 2, "vswitchctl: a command is missing\nUsage:"},
		{socket, "bogus", 2, `vswitchctl: unknown command "bogus"` + "\nUsage:"},
		{socket, "port", 2, "vswitchctl: a command is missing\nUsage:"},
		{socket, "port bogus", 2, `vswitchctl: unknown command "bogus"` + "\nUsage:"},
		{socket, "port show a b", 2, `vswitchctl: unexpected argument "b"` + "\nUsage:"},
		{socket, "show --bogus", 2, "vswitchctl: unknown flag: --bogus\nUsage:"},
		{socket, "fdb show --vlan 4096", 2, "vswitchctl: --vlan: is 4096, must be from 0 to 4095\nUsage:"},
		{socket, "fdb show --vlan x", 2, `vswitchctl: --vlan: is "x", must be from 0 to 4095` + "\nUsage:"},
		{socket, "fdb show --vlna 1", 2, "vswitchctl: unknown flag: --vlna; did you mean --vlan?\nUsage:"},
		{socket, "fdb show --jsno", 2, "vswitchctl: unknown flag: --jsno; did you mean --json?\nUsage:"},
		{socket, "-j=maybe show", 2, `vswitchctl: --json: is "maybe", must be true or false` + "\nUsage:"},
		{socket, "shwo", 2, `vswitchctl: unknown command "shwo"; did you mean "show"?` + "\nUsage:"},
		{socket, "prot show", 2, `vswitchctl: unknown command "prot"; did you mean "port"?` + "\nUsage:"},
		{socket, "port shwo", 2, `vswitchctl: unknown command "shwo"; did you mean "show"?` + "\nUsage:"},
		{socket, "port show vm", 1, `vswitchctl: no such port: "vm"; did you mean "vm1"?` + "\n"},
		{socket, "stats show lam", 1, `vswitchctl: no such port: "lam"; did you mean "lan"?` + "\n"},
		{socket, "fdb show --port mv2", 1, `vswitchctl: no such port: "mv2"; did you mean "vm2"?` + "\n"},
		{socket, "top --sort rx-bit", 2, `vswitchctl: --sort: is "rx-bit", must be one of name, kind, state, rx-frames, rx-bits, tx-frames, tx-bits, drops; did you mean "rx-bits"?` + "\nUsage:"},
		{socket, "top -i 99ms", 2, "vswitchctl: --interval: is 99ms, must be 100ms at least\nUsage:"},
		{socket, "top -n -1", 2, "vswitchctl: --count: is -1, must not be negative\nUsage:"},
		{socket, "top a b", 2, `vswitchctl: unexpected argument "b"` + "\nUsage:"},
		{nobody, "top", 3, "vswitchctl: vswitchd is not running: "},
		{nobody, "watch -j", 3, "vswitchctl: vswitchd is not running: "},
		{socket, "show --color=alway", 2, `vswitchctl: --color: is "alway", must be one of auto, always, never; did you mean "always"?` + "\nUsage:"},
		{socket, "mdb add", 2, "vswitchctl: the address of the group is missing\nUsage:"},
		{socket, "mdb add 239.9.9.9", 2, "vswitchctl: the port is missing\nUsage:"},
		{socket, "mdb add vm1 239.9.9.9", 1, `vswitchctl: group is "vm1", must be an IP address` + "\n"},
		{socket, "mdb add 239.1.1.2 vm1 --vlan 7", 1, "vswitchctl: port is a static member already: 239.1.1.2\n"},
		{socket, "mdb del 239.9.9.9 vm1", 1, "vswitchctl: no such static member: 239.9.9.9\n"},
		{socket, "fdb add", 2, "vswitchctl: the address is missing\nUsage:"},
		{socket, "fdb add 52:54:00:00:00:07", 2, "vswitchctl: the port is missing\nUsage:"},
		{socket, "fdb add 52:54:00:00:00:07 vm1 --blackhole", 2, "vswitchctl: --blackhole: a blackhole has no port\nUsage:"},
		{socket, "fdb add 52:54:00:00:00:07 vm1 --sticky --dynamic", 2, "vswitchctl: --sticky, --dynamic and --blackhole exclude each other\nUsage:"},
		{socket, "fdb add 52:54:00:00:00:07 vm", 1, `vswitchctl: no such port: "vm"; did you mean "vm1"?` + "\n"},
		{socket, "fdb add vm1 52:54:00:00:00:07", 1, `vswitchctl: "vm1" is not a MAC address` + "\n"},
		{socket, "fdb add 52:54:00:00:00:01 vm1", 1, "vswitchctl: address is pinned: 52:54:00:00:00:01\n"},
		{socket, "fdb del", 2, "vswitchctl: the address is missing\nUsage:"},
		{socket, "fdb del 52:54:00:00:00:07", 1, "vswitchctl: no such FDB entry: 52:54:00:00:00:07\n"},
		{socket, "fdb del 52:54:00:00:00:99 --vlan 1", 1, "vswitchctl: no such FDB entry: 52:54:00:00:00:99\n"},
		{socket, "fdb del 52/54", 1, `vswitchctl: "52/54" is not a MAC address` + "\n"},
		{socket, "fdb flush --kind sticki", 1, `vswitchctl: type is "sticki", must be one of dynamic, static, sticky, blackhole; did you mean "sticky"?` + "\n"},
		{socket, "fdb flush --kind=", 2, "vswitchctl: --kind: the list is empty\nUsage:"},
		{socket, "fdb flush --port nobody", 1, `vswitchctl: no such port: "nobody"` + "\n"},
		{"", "show", 2, "vswitchctl: --control: the path is empty\n"},
		{strings.Repeat("x", 108), "show", 2, "vswitchctl: --control: the path is 108 bytes long, at most 107 are possible\n"},
		{nobody, "show", 3, "vswitchctl: vswitchd is not running: there is no socket " + nobody + "\n"},
		{nobody, "show -j", 3, "vswitchctl: vswitchd is not running: "},
		{nobody, "port bogus", 2, "vswitchctl: unknown command"},
	} {
		cmd := exec.Command(bin, append([]string{"--control", tt.socket}, strings.Fields(tt.args)...)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.HasPrefix(stderr.String(), tt.stderr) {
			t.Errorf("%q: exit code %d, want %d; stderr:\n%s", tt.args, code, tt.code, &stderr)
		}
		if tt.code != 0 && stdout.Len() > 0 {
			t.Errorf("%q: writes to stdout: %s", tt.args, &stdout)
		}
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s", n, got)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s", n, got)
		}
	}
}
