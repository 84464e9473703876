package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/daemon"
	"vswitchd/internal/metrics"
)

// BenchmarkScrape is one scrape of a switch with 256 ports.
func BenchmarkScrape(b *testing.B) {
	dir, err := os.MkdirTemp("", "vswitchd-") // the path of b.TempDir can be too long for a unix socket
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	text := fmt.Sprintf("[switch]\nsocket_dir = %q\n", dir)
	for i := range 256 {
		text += fmt.Sprintf("[port.vm%d]\n", i)
	}
	cfg, errs := daemon.Kinds().Parse("benchmark", []byte(text))
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	d, err := daemon.New(cfg, hclog.NewNullLogger())
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	go func() { ended <- metrics.Serve(ctx, l, d.Backend(), hclog.NewNullLogger()) }()
	b.ReportAllocs()
	var size int64
	for b.Loop() {
		resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
		if err != nil {
			b.Fatal(err)
		}
		size, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status, err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
}
