// Package metrics exports the switch's state to Prometheus.
//
// It derives its values from the same snapshots as the control API, on each scrape, and
// has no other cost. It knows nothing of how a switch works. cmd/vswitchd calls it if
// metrics are configured.
package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vswitchd/internal/control"
	"vswitchd/internal/httpserve"
)

// maxConns is the limit of connected clients: one more replaces the oldest.
const maxConns = 16

// Serve answers GET /metrics with the backend's values until ctx is done; then it closes l, gives
// requests in progress a second, and returns nil. Clients' errors are logged at level Debug.
func Serve(ctx context.Context, l net.Listener, backend control.Backend, log hclog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collector{backend},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	err := httpserve.Serve(ctx, l, httpserve.Config{
		Handler: mux, MaxConns: maxConns, Logger: log,
		Idle: 2 * time.Minute, // longer than the usual interval between scrapes
	})
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// collector converts a backend's snapshots to Prometheus's metrics.
type collector struct{ backend control.Backend }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vswitchd_"+name, help, labels, nil)
}

var (
	rxFrames    = desc("port_rx_frames_total", "Frames that the switch received from the port.", "port")
	rxBytes     = desc("port_rx_bytes_total", "Bytes that the switch received from the port.", "port")
	txFrames    = desc("port_tx_frames_total", "Frames that the switch sent to the port.", "port")
	txBytes     = desc("port_tx_bytes_total", "Bytes that the switch sent to the port.", "port")
	drops       = desc("port_drops_total", "Frames dropped at the port.", "port", "reason")
	up          = desc("port_up", "1 if frames can pass the port.", "port")
	reconnects  = desc("port_reconnects_total", "Front-ends that connected to the port, without the first.", "port")
	resets      = desc("port_resets_total", "Sessions of the port that did not end in an orderly way.", "port", "reason")
	fdbEntries  = desc("fdb_entries", "Dynamic and static entries of the FDB.")
	fdbSize     = desc("fdb_size", "Largest number of entries in the FDB.")
	fdbEvents   = desc("fdb_events_total", "Events of addresses in the FDB, of all ports together.", "event")
	portEvents  = desc("port_fdb_events_total", "Events of the port's addresses in the FDB.", "port", "event")
	portFDB     = desc("port_fdb_entries", "Entries that the port has in the FDB.", "port", "type")
	mdbEntries  = desc("mdb_entries", "Memberships of ports in multicast groups.")
	mcast       = desc("mcast_events_total", "Events of multicast snooping, of all ports together.", "event")
	portMcast   = desc("port_mcast_events_total", "Events of multicast snooping at the port.", "port", "event")
	copied      = desc("mirror_frames_total", "Copies of frames that the mirror has made.", "mirror")
	copiedLen   = desc("mirror_bytes_total", "Bytes of the copies that the mirror has made.", "mirror")
	uncopied    = desc("mirror_drops_total", "Copies that the output of the mirror has not taken.", "mirror")
	ruleFrames  = desc("filter_rule_frames_total", "Frames that matched the rule of the filter; rule default: that no rule has decided about.", "filter", "rule")
	ruleBytes   = desc("filter_rule_bytes_total", "Bytes of these frames.", "filter", "rule")
	buildInfo   = desc("build_info", "1, with the version and the target of the build as labels.", "version", "goversion", "goos", "goarch")
	busy        = desc("worker_busy_seconds_total", "Time that the worker spent in rounds that found frames.", "worker")
	wakeups     = desc("worker_wakeups_total", "Number of times that the worker woke from sleep.", "worker")
	worked      = desc("worker_frames_total", "Frames that the worker received.", "worker")
	sources     = desc("worker_sources", "Transmit queues and uplinks that the worker serves.", "worker")
	moved       = desc("worker_moves_total", "Sources that were moved to the worker because another one was busier.", "worker")
	captures    = desc("captures", "Captures that run.")
	captured    = desc("capture_frames_total", "Frames that captures have written.")
	uncaptured  = desc("capture_lost_total", "Frames that captures have lost, because their clients read too slowly.")
	portReplies = desc("port_neigh_replies_total", "Requests for neighbors from the port that the switch has answered.", "port")
	portNeigh   = desc("port_neigh_events_total", "Events of the neighbor table at the port.", "port", "event")
	portLoops   = desc("port_loop_events_total", "Events of loop detection at the port.", "port", "event")
	portBlocked = desc("port_loop_blocked", "1 if the port is blocked because of a loop.", "port")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		rxFrames, rxBytes, txFrames, txBytes, drops, up, reconnects, resets,
		fdbEntries, fdbSize, fdbEvents, portEvents, portFDB,
		mdbEntries, mcast, portMcast, portReplies, portNeigh, portLoops, portBlocked, copied, copiedLen, uncopied, ruleFrames, ruleBytes,
		captures, captured, uncaptured, buildInfo, busy, wakeups, worked, sources, moved,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	// A counter that first appears with its first event has no increase at that event: rate()
	// and alerts would miss it. So counters that are still 0 are exported, too.
	tally := func(d *prometheus.Desc, t control.Tally, known []string, port string) {
		for _, reason := range known {
			if t[reason] == 0 {
				counter(d, 0, port, reason)
			}
		}
		for reason, n := range t {
			if n > 0 || !slices.Contains(known, reason) {
				counter(d, float64(n), port, reason)
			}
		}
	}
	status := c.backend.Switch()
	gauge(buildInfo, 1, status.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	gauge(captures, float64(status.Captures.Running))
	counter(captured, float64(status.Captures.Captured))
	counter(uncaptured, float64(status.Captures.Lost))
	gauge(fdbEntries, float64(status.FDBEntries))
	gauge(fdbSize, float64(status.FDBSize))
	for event, times := range status.FDBEvents {
		counter(fdbEvents, float64(times), event)
	}
	gauge(mdbEntries, float64(status.MDBEntries))
	for event, times := range status.McastEvents {
		counter(mcast, float64(times), event)
	}
	for _, m := range c.backend.Mirrors() {
		counter(copied, float64(m.Frames), m.Name)
		counter(copiedLen, float64(m.Bytes), m.Name)
		counter(uncopied, float64(m.Drops), m.Name)
	}
	for _, f := range c.backend.Filters() {
		for _, r := range append(f.Rules, f.Default) {
			counter(ruleFrames, float64(r.Frames), f.Name, r.Name)
			counter(ruleBytes, float64(r.Bytes), f.Name, r.Name)
		}
	}
	for i, w := range status.Workers {
		counter(busy, w.BusyS, strconv.Itoa(i))
		counter(wakeups, float64(w.Wakeups), strconv.Itoa(i))
		counter(worked, float64(w.Frames), strconv.Itoa(i))
		gauge(sources, float64(w.Sources), strconv.Itoa(i))
		counter(moved, float64(w.Moved), strconv.Itoa(i))
	}
	for _, p := range c.backend.Ports() {
		n := p.Counters
		counter(rxFrames, float64(n.RxFrames), p.Name)
		counter(rxBytes, float64(n.RxBytes), p.Name)
		counter(txFrames, float64(n.TxFrames), p.Name)
		counter(txBytes, float64(n.TxBytes), p.Name)
		counter(reconnects, float64(n.Reconnects), p.Name)
		known := c.backend.Reasons(p.Kind)
		tally(drops, n.Drops, known.Drops, p.Name)
		tally(resets, n.Resets, known.Resets, p.Name)
		for event, times := range n.FDBEvents {
			counter(portEvents, float64(times), p.Name, event)
		}
		counter(portReplies, float64(n.NeighReplies), p.Name)
		for event, times := range n.NeighEvents {
			counter(portNeigh, float64(times), p.Name, event)
		}
		for event, times := range n.LoopEvents {
			counter(portLoops, float64(times), p.Name, event)
		}
		blocked := 0.0
		if p.Loop != nil {
			blocked = 1
		}
		gauge(portBlocked, blocked, p.Name)
		for event, times := range n.McastEvents {
			counter(portMcast, float64(times), p.Name, event)
		}
		gauge(portFDB, float64(p.FDB.Dynamic), p.Name, "dynamic")
		gauge(portFDB, float64(p.FDB.Static), p.Name, "static")
		state := 0.0
		if p.State == control.StateRunning {
			state = 1
		}
		gauge(up, state, p.Name)
	}
}
