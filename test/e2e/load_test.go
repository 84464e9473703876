//go:build e2e

package e2e

import (
	"testing"
	"time"

	"vswitchd/bench/load"
	"vswitchd/test/swtest"
)

// TestLoad saturates vswitchd with traffic of all kinds that bench/load makes: every frame arrives
// as it was sent, or is counted as dropped.
func TestLoad(t *testing.T) {
	s := swtest.Start(t, nil, "mac_table_size = 20000\n"+loadPorts)
	for name, c := range map[string]struct {
		ports   int
		cfg     load.Config
		traffic load.Traffic
	}{
		"64 bytes":   {2, load.Config{}, load.Traffic{Size: 64, Flows: 1024, Both: true}},
		"1500 bytes": {2, load.Config{Ring: 1024, NoEventIdx: true}, load.Traffic{Size: 1500, Flows: 10, Both: true}},
		"addresses":  {2, load.Config{}, load.Traffic{Size: 100, Flows: 5000, MACs: 5000, Both: true}},
		"queues":     {2, load.Config{Queues: 2}, load.Traffic{Size: 590, Flows: 64, Both: true}},
		"two pairs":  {5, load.Config{}, load.Traffic{Size: 64, Flows: 3, Pairs: 2, Both: true}},
		"broadcast":  {5, load.Config{}, load.Traffic{Shape: load.Broadcast, Size: 64, Pairs: 1}},
		"GSO":        {2, load.Config{Offloads: true, MaxFrame: 65226}, load.Traffic{Shape: load.GSO, Size: 65226, Both: true}},
	} {
		t.Run(name, func(t *testing.T) { saturate(t, s, c.ports, c.cfg, c.traffic) })
	}
}

const loadPorts = `
[port.a]
queues = 2
[port.b]
queues = 2
[port.c]
[port.d]
[port.e]
`

func saturate(t *testing.T, s *swtest.Switch, n int, cfg load.Config, traffic load.Traffic) {
	var ports []*load.Port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for _, name := range []string{"a", "b", "c", "d", "e"}[:n] {
		p, err := load.Dial(s.Socket(name), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	g, err := load.NewGenerator(ports, traffic)
	if err == nil {
		err = g.Announce()
	}
	if err != nil {
		t.Fatal(err)
	}
	dropped := func() (n uint64) {
		for _, p := range s.Info(t).Ports {
			n += p.Counters.Drops.Total()
		}
		return n
	}
	before := dropped()
	c, err := g.Check(20_000)
	if err != nil {
		t.Fatal(err)
	}
	if got := dropped() - before; c.Strays != 0 || c.Lost != got || c.Received == 0 {
		t.Errorf("%+v, and vswitchd dropped %d", c, got)
	}
	if traffic.Shape == load.Broadcast {
		return // a frame sent is several received
	}
	before = dropped()
	r, err := g.Saturate(0, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got := dropped() - before; r.Received == 0 || r.Lost() != int64(got) {
		t.Errorf("%d frames sent, %d received, vswitchd dropped %d", r.Sent, r.Received, got)
	}
}
