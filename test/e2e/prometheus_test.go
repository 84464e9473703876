//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// promtool runs Prometheus' own tool in the folder of the alerts. It fails the test if the tool
// does, or if the tool says that something is not as it should be.
func promtool(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	program, err := vm.Tool("promtool")
	if err != nil {
		t.Fatal(err)
	}
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdin = filepath.Join(root, "packaging", "monitoring"), stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The metrics of a switch with some of everything are as Prometheus wants them. A guest that has
// sent frames, and whose buffers are short, shows in them.
func TestMetricsAreThoseOfPrometheus(t *testing.T) {
	address := swtest.FreeAddress(t)
	s := swtest.StartWith(t, nil, `loop_detection = false
[uplink.lan]
interface = "none0"
[port.a]
egress_rate = "40G"
ingress_filter = "all"
[port.b]
storm_control_pps = 100000
[port.idle]
[mirror.m]
select_all = true
output = "idle"
[filter.all]
default = "accept"
rules = [ { name = "arp", action = "accept", ethertype = ["arp"] } ]
`, "--metrics", address)
	for i, name := range []string{"a", "b"} {
		g, err := station.Connect(s.Socket(name), station.Config{MAC: station.Addr(byte(i + 1))})
		if err != nil {
			t.Fatal(err)
		}
		s.WaitState(t, name, control.StateRunning)
		g.Talk(station.Addr(byte(2-i)), 16)
		g.Start()
		defer g.Die()
		if name == "b" {
			if err := g.Await(200); err != nil {
				t.Fatal(err)
			}
		}
	}
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	if out := promtool(t, strings.NewReader(string(body)), "check", "metrics"); out != "" {
		t.Errorf("promtool says:\n%s", out)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(body)) {
		if sample, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok {
			values[sample+"}"] = value
		}
	}
	for _, positive := range []string{
		`vswitchd_port_rx_frames_total{port="a"}`, `vswitchd_port_tx_bytes_total{port="b"}`,
		`vswitchd_port_kicks_total{port="a"}`, `vswitchd_port_free_buffers{port="b"}`,
		`vswitchd_worker_batch_frames_count{worker="0"}`, `vswitchd_worker_latency_seconds_count{worker="0"}`,
		`vswitchd_worker_awake_seconds_total{worker="0"}`, `vswitchd_worker_cpu_seconds_total{worker="0"}`,
		`vswitchd_filter_rule_frames_total{filter="all",rule="default"}`, `vswitchd_mirror_drops_total{mirror="m"}`,
		`vswitchd_port_limit_bytes_per_second{limit="egress_rate",port="a"}`, `vswitchd_shared_used_ratio{resource="mappings"}`,
	} {
		if v := values[positive]; v == "" || v == "0" {
			t.Errorf("%s is %q", positive, v)
		}
	}
	for _, zero := range []string{
		`vswitchd_port_drops_total{port="lan",reason="kernel-ring-full"}`, `vswitchd_port_drops_total{port="idle",reason="ra-guard"}`,
		`vswitchd_port_resets_total{port="idle",reason="hung-call"}`, `vswitchd_port_loop_blocked{port="lan"}`,
		`vswitchd_port_fdb_events_total{event="flapped",port="idle"}`, `vswitchd_port_up{port="lan"}`,
	} {
		if v := values[zero]; v != "0" {
			t.Errorf("%s is %q", zero, v)
		}
	}
}

// The alerts are valid, and fire when they should.
func TestAlerts(t *testing.T) {
	promtool(t, nil, "check", "rules", "alerts.yml")
	promtool(t, nil, "test", "rules", "alerts_test.yml")
}

// Prometheus can evaluate what the dashboard shows.
func TestDashboardExpressions(t *testing.T) {
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "packaging", "monitoring", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$port", ".*")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			fmt.Fprintf(&rules, "  - record: expression:%d\n    expr: %q\n", n, variables.Replace(target.Expr))
			n++
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, nil, "check", "rules", file); !strings.Contains(out, fmt.Sprint(n, " rules found")) {
		t.Errorf("of %d expressions promtool says:\n%s", n, out)
	}
}
