package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control/controltest"
)

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, controltest.Sample(), hclog.NewNullLogger()) }()

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
		`vswitchd_port_tx_bytes_total{port="lan"} 3.028e+06`,
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
		`vswitchd_filter_rule_frames_total{filter="none",rule="default"} 0`,
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

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
