// Package metrics shows the switch to Prometheus.
//
// It makes its numbers out of the same snapshots as the control API, when it
// is asked for them, and so costs nothing else. It knows nothing of how a
// switch works. Who calls it: cmd/vswitchd, if metrics are configured.
package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vswitchd/internal/control"
)

// Serve answers GET /metrics with what the backend tells until ctx is done;
// then it closes l, gives requests under way a second, and returns nil.
func Serve(ctx context.Context, l net.Listener, backend control.Backend) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collector{backend},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	// A client that does not send or does not read holds a connection, and
	// nothing else, for this long.
	server := http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the usual interval between scrapes
		MaxHeaderBytes:    16 << 10,
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(l)
	if ctx.Err() == nil {
		return fmt.Errorf("metrics: %w", err)
	}
	<-stopped
	return nil
}

// collector makes Prometheus's metrics of a backend's snapshots.
type collector struct{ backend control.Backend }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vswitchd_"+name, help, labels, nil)
}

var (
	rxFrames   = desc("port_rx_frames_total", "Frames that the switch received from the port.", "port")
	rxBytes    = desc("port_rx_bytes_total", "Bytes that the switch received from the port.", "port")
	txFrames   = desc("port_tx_frames_total", "Frames that the switch sent to the port.", "port")
	txBytes    = desc("port_tx_bytes_total", "Bytes that the switch sent to the port.", "port")
	drops      = desc("port_drops_total", "Frames dropped at the port.", "port", "reason")
	up         = desc("port_up", "1 if frames can pass the port.", "port")
	reconnects = desc("port_reconnects_total", "Front-ends that connected to the port, the first not counted.", "port")
	resets     = desc("port_resets_total", "Times that a front-end did not leave the port in order.", "port", "reason")
	fdbEntries = desc("fdb_entries", "Dynamic and static entries of the FDB.")
	busy       = desc("worker_busy_seconds_total", "Time that the worker spent in rounds that found frames.", "worker")
	wakeups    = desc("worker_wakeups_total", "Times that the worker woke from sleep.", "worker")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rxFrames, rxBytes, txFrames, txBytes, drops, up, reconnects, resets, fdbEntries, busy, wakeups} {
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
	status := c.backend.Switch()
	gauge(fdbEntries, float64(status.FDBEntries))
	for i, w := range status.Workers {
		counter(busy, w.BusyS, strconv.Itoa(i))
		counter(wakeups, float64(w.Wakeups), strconv.Itoa(i))
	}
	for _, p := range c.backend.Ports() {
		n := p.Counters
		counter(rxFrames, float64(n.RxFrames), p.Name)
		counter(rxBytes, float64(n.RxBytes), p.Name)
		counter(txFrames, float64(n.TxFrames), p.Name)
		counter(txBytes, float64(n.TxBytes), p.Name)
		counter(reconnects, float64(n.Reconnects), p.Name)
		for reason, frames := range n.Drops {
			counter(drops, float64(frames), p.Name, reason)
		}
		for reason, times := range n.Resets {
			counter(resets, float64(times), p.Name, reason)
		}
		state := 0.0
		if p.State == control.StateRunning {
			state = 1
		}
		gauge(up, state, p.Name)
	}
}
