// Package metrics exports the switch's state to Prometheus.
//
// It derives its values from the same snapshots as the control API, on each scrape, and has no
// other cost. It knows nothing of how a switch works. cmd/vswitchd calls it if metrics are
// configured.
//
// The families of metrics are declared in families.go, each with the function that writes its
// samples. They are written as text here, and not by Prometheus' library: a switch with 256 ports
// has some 25,000 samples, and to make an object of each would take longer than all the rest. The
// library adds the metrics of the Go runtime and of the process.
package metrics
