//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
)

// The names below are promises: users have written them into their scripts, units and dashboards.
// Lines may be added to the tables. A line is changed or removed only with an entry in CHANGELOG.md
// that says what users have to change.

// promisedFlags are vswitchd's.
var promisedFlags = []string{
	"--config", "--check", "--port", "--uplink", "--control", "--metrics", "--status", "--log-level", "--log-format",
	"--version", "--print-capabilities", "--socket-path", "--fd", "--takeover",
}

// promisedCommands are commands of vswitchctl, each with options after a colon.
var promisedCommands = []string{
	"show: --json -j --control",
	"port show", "port add: --save", "port del: --save", "port set: --save",
	"fdb show: --port --vlan", "fdb add: --vlan", "fdb del: --vlan", "fdb flush: --port --vlan",
	"mdb show", "vlan show",
	"mirror show", "mirror add", "mirror del",
	"stats show: --total", "stats reset", "monitor: --kind --snapshot", "top", "doctor",
	"capture: -w -c -s",
	"trace: --frame --src --dst --vlan --ip-src",
	"host show", "host add", "host set", "host del",
	"uplink show", "uplink add", "uplink set", "uplink del",
	"filter show", "filter add", "filter set", "filter del",
	"set show", "set add", "set del",
	"config show: --diff", "config save", "state export",
	"version", "completion", "reload", "upgrade",
}

// promisedFields are members of what vswitchctl prints with -j, each as a path in which [] is any
// element of an array. The switch of TestPromises has a guest's port, an uplink and an FDB entry.
var promisedFields = map[string][]string{
	"show": {
		"version", "uptime_s", "ports", "fdb_entries", "workers",
		"workers[].cpu", "workers[].busy_ratio", "workers[].frames", "workers[].wakeups",
	},
	"port show": {
		"[].name", "[].kind", "[].state", "[].queues", "[].features", "[].protocol_features", "[].mtu",
		"[].counters.rx_frames", "[].counters.rx_bytes", "[].counters.tx_frames", "[].counters.tx_bytes",
		"[].counters.drops", "[].counters.kicks", "[].counters.calls", "[].counters.reconnects",
	},
	"port show vm1":     {"name", "kind", "state", "socket", "counters.drops", "rings", "regions", "features"},
	"port show absent0": {"name", "kind", "state", "interface", "counters.drops"},
	"stats show":        {"[].name", "[].counters.drops"},
	"fdb show":          {"[].mac", "[].vlan", "[].port", "[].type", "[].age_s"},
}

// promisedMetrics are names of metrics, with the names of their labels.
var promisedMetrics = []string{
	"vswitchd_port_rx_frames_total{port}", "vswitchd_port_rx_bytes_total{port}",
	"vswitchd_port_tx_frames_total{port}", "vswitchd_port_tx_bytes_total{port}",
	"vswitchd_port_drops_total{port,reason}", "vswitchd_port_up{port}", "vswitchd_port_reconnects_total{port}",
	"vswitchd_fdb_entries", "vswitchd_worker_busy_seconds_total{worker}", "vswitchd_worker_wakeups_total{worker}",
	"go_goroutines", "process_open_fds",
}

// promisedPaths are paths of the control API that answer GET requests.
var promisedPaths = []string{"/v1/switch", "/v1/ports", "/v1/ports/vm1", "/v1/fdb", "/v1/mdb", "/v1/stats", "/v1/mirrors", "/v1/config"}

// TestPromises holds the names and exit codes that users rely on.
func TestPromises(t *testing.T) {
	dir := shortDir(t)
	metrics := swtest.FreeAddress(t)
	s := swtest.StartFlags(t, nil, "--port", "vm1=$DIR/vm1.sock", "--uplink", "absent0", "--metrics", metrics, "--log-format", "json")
	s.Ctl(t, "fdb", "add", "52:54:00:00:00:01", "vm1")

	t.Run("flags", func(t *testing.T) {
		_, stdout, stderr := swtest.Exec(t, nil, nil, "--help")
		for _, flag := range promisedFlags {
			if !strings.Contains(stdout+stderr, " "+flag+" ") {
				t.Errorf("vswitchd has no %s", flag)
			}
		}
		code, stdout, _ := swtest.Exec(t, nil, nil, "--print-capabilities")
		if capabilities := decode[map[string]any](t, stdout); code != 0 || capabilities["type"] != "net" {
			t.Errorf("--print-capabilities: exit code %d: %s", code, stdout)
		}
	})
	t.Run("configuration", checkPromisedKeys)
	t.Run("commands", func(t *testing.T) {
		for _, promise := range promisedCommands {
			command, options, _ := strings.Cut(promise, ":")
			help := s.Ctl(t, append(strings.Fields(command), "--help")...)
			if !strings.Contains(help, "vswitchctl "+command) {
				t.Errorf("vswitchctl has no command %s:\n%s", command, help)
			}
			for _, option := range strings.Fields(options) {
				if !regexp.MustCompile(`(?m)^ +(-., )?` + option + `[, ]`).MatchString(help) {
					t.Errorf("vswitchctl %s has no %s:\n%s", command, option, help)
				}
			}
		}
	})
	t.Run("JSON", func(t *testing.T) {
		for command, fields := range promisedFields {
			answer := decode[any](t, s.Ctl(t, append(strings.Fields(command), "-j")...))
			for _, field := range fields {
				if err := find(answer, field); err != nil {
					t.Errorf("vswitchctl %s -j: %s: %v", command, field, err)
				}
			}
		}
		api := control.NewClient(s.ControlSocket())
		for _, path := range promisedPaths {
			if _, err := api.Get(t.Context(), path); err != nil {
				t.Errorf("GET %s: %v", path, err)
			}
		}
	})
	t.Run("metrics", func(t *testing.T) { checkPromisedMetrics(t, "http://"+metrics+"/metrics") })
	t.Run("exit codes", func(t *testing.T) {
		bad := writeFile(t, filepath.Join(dir, "bad.toml"), "[port.vm1]\nunknown = 1\n")
		for args, want := range map[string]int{
			"--unknown":                 2,
			"--config " + bad:           2,
			"--check --config " + bad:   1,
			"--control /nonexistent/c ": 1,
		} {
			if code, _, stderr := swtest.Exec(t, nil, nil, strings.Fields(args)...); code != want || stderr == "" {
				t.Errorf("vswitchd %s: exit code %d, want %d: %s", args, code, want, stderr)
			}
		}
		for args, want := range map[string]int{
			"show":                     0,
			"port show nobody":         1,
			"port set vm1 tag=5000":    1,
			"port sohw":                2,
			"show --unknown":           2,
			"show --control /nowhere.": 3,
		} {
			cmd := ctl(t, s, strings.Fields(args)...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != want || (code != 0) != (stderr.Len() > 0) {
				t.Errorf("vswitchctl %s: exit code %d, want %d: %s", args, code, want, &stderr)
			}
		}
		s.Signal(t, syscall.SIGTERM)
		if code := s.Wait(); code != 0 {
			t.Errorf("vswitchd ends by SIGTERM with exit code %d", code)
		}
		if left, _ := filepath.Glob(s.Dir + "/*.sock"); left != nil {
			t.Errorf("sockets are left: %v", left)
		}
	})
}

// checkPromisedKeys compares the promised defaults with those of the sample configuration, which is
// generated from the declarations of the keys, and has vswitchd check all that is promised.
func checkPromisedKeys(t *testing.T) {
	for _, file := range []string{"defaults.toml", "values.toml"} {
		file := filepath.Join("testdata/promises", file)
		if code, _, stderr := swtest.Exec(t, nil, nil, "--check", "--config", file); code != 0 {
			t.Errorf("%s: exit code %d: %s", file, code, stderr)
		}
	}
	sample, err := os.ReadFile("../../qemu-examples/vswitchd.toml")
	if err != nil {
		t.Fatal(err)
	}
	promised, err := os.ReadFile("testdata/promises/defaults.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	uncommented := regexp.MustCompile(`(?m)^#([^ ])`).ReplaceAll(sample, []byte("$1"))
	for _, file := range []struct {
		text []byte
		into *map[string]any
	}{{uncommented, &got}, {promised, &want}} {
		if err := toml.Unmarshal(file.text, file.into); err != nil {
			t.Fatal(err)
		}
	}
	compareDefaults(t, "", got, want)
}

// compareDefaults compares the values in want, of tables in tables, with those in got.
func compareDefaults(t *testing.T, table string, got, want map[string]any) {
	for key, value := range want {
		name := strings.TrimPrefix(table+"."+key, ".")
		if inner, ok := value.(map[string]any); ok {
			have, _ := got[key].(map[string]any)
			compareDefaults(t, name, have, inner)
		} else if have, ok := got[key]; !ok {
			t.Errorf("there is no key %s", name)
		} else if canonical(have) != canonical(value) {
			t.Errorf("the default of %s is %v, not %v", name, have, value)
		}
	}
}

// canonical writes a value such that two that mean the same are equal: 300s and 5m.
func canonical(value any) string {
	text := fmt.Sprint(value)
	if d, err := time.ParseDuration(text); err == nil {
		return d.String()
	}
	return text
}

func checkPromisedMetrics(t *testing.T, url string) {
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range promisedMetrics {
		name, labels, labelled := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
		pattern := `(?m)^` + name + ` `
		if labelled {
			pattern = `(?m)^` + name + `\{` + strings.ReplaceAll(labels, ",", `="[^"]+",`) + `="[^"]+"\} `
		}
		if !regexp.MustCompile(pattern).Match(body) {
			t.Errorf("there is no metric %s", metric)
		}
	}
}

// find says what is missing of a path, as in promisedFields, in a decoded JSON value.
func find(value any, path string) error {
	name, rest, _ := strings.Cut(path, ".")
	member, isArray := strings.CutSuffix(name, "[]")
	if member != "" {
		object, _ := value.(map[string]any)
		inner, ok := object[member]
		if !ok {
			return fmt.Errorf("no member %s", member)
		}
		value = inner
	}
	if !isArray {
		if rest == "" {
			return nil
		}
		return find(value, rest)
	}
	elements, _ := value.([]any)
	if len(elements) == 0 {
		return fmt.Errorf("%s has no elements", name)
	}
	for _, element := range elements {
		if err := find(element, rest); err != nil {
			return err
		}
	}
	return nil
}
