package vswitch_test

import (
	"fmt"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// benchSwitch makes a switch with n ports that count and discard frames. Station i is behind port
// i, and is in the FDB.
func benchSwitch(tb testing.TB, n int, configure func(i int, c *vswitch.PortConfig)) (*vswitch.Switch, []*vswitch.Inlet) {
	s := vswitch.NewStill(vswitch.Config{})
	ins := make([]*vswitch.Inlet, n)
	for i := range ins {
		cfg := vswitch.DefaultPortConfig(fmt.Sprintf("p%d", i))
		cfg.Counters = new(vswitch.Counters)
		if configure != nil {
			configure(i, &cfg)
		}
		a, err := s.Attach(cfg, &vswitchtest.Sink{Counters: cfg.Counters})
		if err != nil {
			tb.Fatal(err)
		}
		a.SetUp(true)
		ins[i] = a.NewInlet()
		ins[i].Deliver(batchOf(1, i, func(int) vswitch.MAC { return vswitchtest.Broadcast }))
	}
	return s, ins
}

// batchOf makes n frames of 64 bytes from station src.
func batchOf(n, src int, dst func(i int) vswitch.MAC) []vswitch.Frame {
	fs := make([]vswitch.Frame, n)
	for i := range fs {
		fs[i] = vswitchtest.Frame(vswitchtest.Ether(dst(i), vswitchtest.Station(src), make([]byte, 50)))
	}
	return fs
}

func perFrame(b *testing.B, frames int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/frame")
}

func BenchmarkDeliver(b *testing.B) {
	access := func(i int, c *vswitch.PortConfig) { c.Tag = 10 }
	mixed := func(i int, c *vswitch.PortConfig) {
		if i%2 == 0 {
			c.Tag = 10
		} else {
			c.VLANMode, c.Trunks = vswitch.VLANTrunk, []uint16{10}
		}
	}
	tunnel := func(i int, c *vswitch.PortConfig) {
		if i%2 == 0 {
			c.VLANMode, c.Tag = vswitch.VLANTunnel, 10
		}
	}
	station := vswitchtest.Station
	for _, bm := range []struct {
		name      string
		ports     int
		configure func(int, *vswitch.PortConfig)
		dst       func(i int) vswitch.MAC
	}{
		{"one port", 2, nil, func(int) vswitch.MAC { return station(1) }},
		{"8 ports", 9, nil, func(i int) vswitch.MAC { return station(1 + i%8) }},
		{"8 ports in runs", 9, nil, func(i int) vswitch.MAC { return station(1 + i/8) }},
		{"flood to 8", 9, nil, func(int) vswitch.MAC { return vswitchtest.Broadcast }},
		{"one flood in 64", 9, nil, func(i int) vswitch.MAC {
			if i == 32 {
				return vswitchtest.Broadcast
			}
			return station(1)
		}},
		{"access to access", 3, access, func(int) vswitch.MAC { return vswitchtest.Station(2) }},
		{"tunnel to trunk", 3, tunnel, func(int) vswitch.MAC { return vswitchtest.Station(1) }},
		{"flood access to tagged and untagged", 9, mixed, func(int) vswitch.MAC { return vswitchtest.Broadcast }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			_, ins := benchSwitch(b, bm.ports, bm.configure)
			frames := batchOf(vswitch.MaxBatch, 0, bm.dst)
			pristine := append([]vswitch.Frame(nil), frames...)
			b.ReportAllocs()
			for b.Loop() {
				copy(frames, pristine) // Head as a driver sets it
				ins[0].Deliver(frames)
			}
			perFrame(b, len(frames))
		})
	}
}
