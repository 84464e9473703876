package metrics

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"vswitchd/internal/control/controltest"
)

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	backend := controltest.Sample()
	backend.Lists[1].Name = `a "quoted" \ name`
	go func() { done <- Serve(ctx, l, backend, hclog.NewNullLogger()) }()

	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v: %s", resp.Status, err, body)
	}
	lines := strings.Split(string(body), "\n")
	for _, want := range []string{
		`vswitchd_port_rx_frames_total{port="lan"} 1000`,
		`vswitchd_port_rx_bytes_total{port="lan"} 64000`,
		`vswitchd_port_tx_frames_total{port="lan"} 2000`,
		`vswitchd_port_tx_bytes_total{port="lan"} 3028000`,
		`vswitchd_port_drops_total{port="vm1",reason="bad-chain"} 2`,
		`vswitchd_port_drops_total{port="vm1",reason="ring-full"} 40`,
		`vswitchd_port_up{port="vm1"} 1`,
		`vswitchd_port_up{port="vm2"} 0`,
		`vswitchd_port_reconnects_total{port="vm1"} 1`,
		`vswitchd_port_resets_total{port="vm3",reason="bad-ring"} 1`,
		`vswitchd_port_resets_total{port="vm3",reason="died"} 2`,
		`vswitchd_port_drops_total{port="vm2",reason="bad-chain"} 0`,
		`vswitchd_port_drops_total{port="vm2",reason="ring-full"} 0`,
		`vswitchd_port_drops_total{port="lan",reason="kernel-ring-full"} 0`,
		`vswitchd_port_resets_total{port="vm3",reason="other"} 0`,
		`vswitchd_port_resets_total{port="vm2",reason="died"} 0`,
		`vswitchd_port_reconnects_total{port="vm2"} 0`,
		`vswitchd_build_info{goarch="` + runtime.GOARCH + `",goos="linux",goversion="` + runtime.Version() + `",version="1.2.3"} 1`,
		`vswitchd_fdb_entries 3`,
		`vswitchd_captures 2`,
		`vswitchd_capture_frames_total 5000`,
		`vswitchd_capture_lost_total 17`,
		`vswitchd_fdb_size 8192`,
		`vswitchd_mdb_entries 3`,
		`vswitchd_mcast_events_total{event="queries"} 2`,
		`vswitchd_port_mcast_events_total{event="malformed",port="lan"} 0`,
		`vswitchd_port_loop_blocked{port="wan"} 1`,
		`vswitchd_port_loop_blocked{port="lan"} 0`,
		`vswitchd_port_loop_events_total{event="returned",port="wan"} 3`,
		`vswitchd_port_loop_events_total{event="ignored",port="wan"} 0`,
		`vswitchd_port_up{port="wan"} 0`,
		`vswitchd_mirror_frames_total{mirror="m1"} 1234`,
		`vswitchd_mirror_bytes_total{mirror="m1"} 567890`,
		`vswitchd_mirror_drops_total{mirror="m1"} 5`,
		`vswitchd_mirror_drops_total{mirror="remote"} 0`,
		`vswitchd_filter_rule_frames_total{filter="web",rule="web"} 1234`,
		`vswitchd_filter_rule_bytes_total{filter="web",rule="web"} 567890`,
		`vswitchd_filter_rule_frames_total{filter="web",rule="default"} 7`,
		`vswitchd_filter_rule_frames_total{filter="a \"quoted\" \\ name",rule="default"} 0`,
		`vswitchd_fdb_events_total{event="learned"} 12`,
		`vswitchd_fdb_events_total{event="full"} 0`,
		`vswitchd_port_fdb_events_total{event="flapped",port="lan"} 4`,
		`vswitchd_port_fdb_events_total{event="limited",port="lan"} 0`,
		`vswitchd_port_fdb_entries{port="lan",type="dynamic"} 2`,
		`vswitchd_port_fdb_entries{port="lan",type="static"} 1`,
		`vswitchd_worker_busy_seconds_total{worker="0"} 5861.5`,
		`vswitchd_worker_wakeups_total{worker="0"} 789`,
		`vswitchd_worker_frames_total{worker="0"} 123456`,
		`vswitchd_worker_busy_seconds_total{worker="1"} 0`,
		`vswitchd_worker_wakeups_total{worker="1"} 0`,
		`vswitchd_worker_frames_total{worker="1"} 0`,
		`vswitchd_worker_sources{worker="1"} 0`,
		`vswitchd_worker_moves_total{worker="1"} 0`,
		`vswitchd_worker_asleep{worker="0"} 0`,
		`vswitchd_worker_asleep{worker="1"} 1`,
		`vswitchd_worker_awake_seconds_total{worker="0"} 6000.25`,
		`vswitchd_worker_empty_polls_total{worker="0"} 99`,
		`vswitchd_worker_batch_frames_bucket{worker="0",le="1"} 3456`,
		`vswitchd_worker_batch_frames_bucket{worker="0",le="64"} 8456`,
		`vswitchd_worker_batch_frames_bucket{worker="0",le="+Inf"} 8456`,
		`vswitchd_worker_batch_frames_sum{worker="0"} 123456`,
		`vswitchd_worker_batch_frames_count{worker="0"} 8456`,
		`vswitchd_worker_latency_seconds_bucket{worker="0",le="2e-06"} 700`,
		`vswitchd_worker_latency_seconds_bucket{worker="0",le="0.001"} 780`,
		`vswitchd_worker_latency_seconds_bucket{worker="0",le="+Inf"} 789`,
		`vswitchd_worker_latency_seconds_sum{worker="0"} 0.0185`,
		`vswitchd_worker_latency_seconds_count{worker="1"} 0`,
		`vswitchd_port_info{kind="uplink",port="lan"} 1`,
		`vswitchd_port_kicks_total{port="vm1"} 5`,
		`vswitchd_port_calls_total{port="vm1"} 6`,
		`vswitchd_port_waiting_frames{port="vm2"} 0`,
		`vswitchd_port_free_buffers{port="vm1"} 255`,
		`vswitchd_port_limit_bytes_per_second{limit="egress_rate",port="vm1"} 1.25e+08`,
		`vswitchd_port_limit_frames_per_second{limit="storm_control_pps",port="vm1"} 1000`,
		`# TYPE go_goroutines gauge`,
		`# TYPE process_resident_memory_bytes gauge`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", body)
	}

	if got := resp.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("the type is %q", got)
	}
	for _, path := range []string{"/", "/metrics/"} {
		if resp, err := http.Get("http://" + l.Addr().String() + path); err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %v %v", path, resp, err)
		}
	}

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// parsed returns the families of an answer.
func parsed(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	body, err := newHandler(controltest.Sample(), hclog.NewNullLogger()).scrape()
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return found
}

// Each sample is served once, with its labels sorted.
func TestSamplesAreDistinct(t *testing.T) {
	for name, f := range parsed(t) {
		seen := make(map[string]bool)
		for _, m := range f.Metric {
			labels := m.GetLabel()
			id := fmt.Sprint(labels)
			if seen[id] {
				t.Errorf("%s%s is there twice", name, id)
			}
			seen[id] = true
			if !slices.IsSortedFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }) {
				t.Errorf("%s: labels are not sorted: %s", name, id)
			}
		}
	}
}

// docs/metrics.md has a row for each metric that is served, and no others.
func TestDocumentNamesEveryMetric(t *testing.T) {
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for line := range strings.Lines(string(document)) {
		if strings.HasPrefix(line, "| `"+prefix) {
			rows[strings.TrimSpace(line)] = true
		}
	}
	found := parsed(t)
	for _, f := range families {
		name := prefix + f.name
		m := found[name]
		if m == nil || len(m.Metric) == 0 {
			t.Errorf("the sample has no %s", name)
			continue
		}
		var labels []string
		for _, l := range m.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", name, f.kind, strings.Join(labels, ", "), f.help)
		if !rows[row] {
			t.Errorf("docs/metrics.md has no row\n%s", row)
		}
		delete(rows, row)
	}
	for row := range rows {
		t.Errorf("docs/metrics.md has a row that is wrong:\n%s", row)
	}
}
