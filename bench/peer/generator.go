package peer

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A Generator is DPDK's testpmd with its own virtio driver at the first two ports of a back-end:
// another load generator than package load, made by others. It does its work frame by frame, and is
// the limit where the back-end is fast.
type Generator struct{ *testpmd }

// StartGenerator connects testpmd to a back-end. It runs on a separate processor.
func StartGenerator(l *Lab, cpu int, be BackEnd) (*Generator, error) {
	env, args := []string{"--single-file-segments"}, []string(nil) // the driver can share only a few files
	for i := range 2 {
		path, listens := be.Socket(i)
		server := 1
		if listens {
			server = 0
		}
		env = append(env, "--vdev", fmt.Sprintf("net_virtio_user%d,path=%s,server=%d,queue_size=1024,mac=%s", i, path, server, generatorMAC(i)))
		args = append(args, fmt.Sprintf("--eth-peer=%d,%s", i, generatorMAC(1-i)))
	}
	t, err := startTestpmd(l, cpu, "generator", env, append(args, "--no-lsc-interrupt", "--nb-cores=1"))
	if err != nil {
		return nil, fmt.Errorf("testpmd as a generator: %w", err)
	}
	return &Generator{t}, nil
}

func generatorMAC(i int) string { return fmt.Sprintf("52:54:00:00:00:%02x", i+1) }

// Stop ends it.
func (g *Generator) Stop() { g.stop() }

// Load is what testpmd sends.
type Load string

// The kinds of load.
const (
	FlowGen    Load = "flowgen" // 1024 flows, as much as the rings take
	ClosedLoop Load = "mac"     // 256 frames each way, which go to and fro
)

var portStats = regexp.MustCompile(`(?s)NIC statistics for port \d+ .*?RX-packets: (\d+)`)

// Start starts a load with frames of a size, and returns when frames arrive.
func (g *Generator) Start(load Load, size int) error {
	start := "start"
	if load == ClosedLoop {
		start = "start tx_first 8" // bursts of 32
	}
	if _, err := g.do("set fwd "+string(load), fmt.Sprintf("set txpkts %d", size), start); err != nil {
		return err
	}
	before, err := g.received()
	if err != nil {
		return err
	}
	var asked error
	err = g.await("frames arrive", func() bool {
		var n uint64
		n, asked = g.received()
		return asked != nil || n > before+100_000
	})
	if asked != nil {
		return asked
	}
	return err
}

// Halt ends a load.
func (g *Generator) Halt() error {
	_, err := g.do("stop")
	return err
}

// Measure returns how many frames arrive in a second, both ports together.
func (g *Generator) Measure(d time.Duration) (pps float64, err error) {
	before, err := g.received()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(d)
	after, err := g.received()
	return float64(after-before) / time.Since(start).Seconds(), err
}

// received returns how many frames have arrived at both ports.
func (g *Generator) received() (n uint64, err error) {
	text, err := g.do("show port stats all")
	if err != nil {
		return 0, err
	}
	found := portStats.FindAllStringSubmatch(text, -1)
	if len(found) != 2 {
		return 0, fmt.Errorf("testpmd's statistics: %s", text)
	}
	for _, f := range found {
		k, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}
