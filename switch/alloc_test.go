package vswitch_test

import (
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// deliverWithoutAllocating delivers the same frames again and again, as a driver sets them.
func deliverWithoutAllocating(t *testing.T, in *vswitch.Inlet, frames []vswitch.Frame) {
	t.Helper()
	pristine := append([]vswitch.Frame(nil), frames...)
	n := testing.AllocsPerRun(100, func() {
		copy(frames, pristine)
		in.Deliver(frames)
	})
	if n != 0 {
		t.Errorf("%v allocations in each Deliver", n)
	}
}

// TestDeliverDoesNotAllocate covers every path through the pipeline.
func TestDeliverDoesNotAllocate(t *testing.T) {
	mixed := func(i int, c *vswitch.PortConfig) {
		if i%2 == 1 {
			c.Tag = 10
		} else {
			c.VLANMode, c.Trunks, c.Tag = vswitch.VLANNativeTagged, []uint16{10}, 10
		}
	}
	guarded := func(i int, c *vswitch.PortConfig) {
		c.MACs = []vswitch.MAC{vswitchtest.Station(i)}
		c.Guards = vswitch.Guards{AllowedMACs: c.MACs, Locked: true, BPDU: true}
	}
	limited := func(_ int, c *vswitch.PortConfig) {
		c.IngressPolicingRate, c.IngressPolicingPPS, c.EgressRate, c.StormControlPPS = 1e9, 1e9, 1e6, 1000
	}
	tunnels := func(i int, c *vswitch.PortConfig) {
		if i%3 == 0 {
			c.VLANMode, c.Tag, c.CVLANs, c.Priority = vswitch.VLANTunnel, 10, []uint16{0, 7}, 3
		}
		if i%3 == 1 {
			c.PriorityTags, c.Tag = vswitch.PriorityTagsAlways, 10
		}
	}
	station := vswitchtest.Station
	for _, tt := range []struct {
		name      string
		configure func(int, *vswitch.PortConfig)
		dst       func(i int) vswitch.MAC
	}{
		{"one port", nil, func(int) vswitch.MAC { return station(1) }},
		{"many ports", nil, func(i int) vswitch.MAC { return station(1 + i%8) }},
		{"flood", nil, func(int) vswitch.MAC { return vswitchtest.Broadcast }},
		{"unknown", nil, func(int) vswitch.MAC { return station(9999) }},
		{"limited", limited, func(i int) vswitch.MAC { return station(1 + i%8) }},
		{"limited floods", limited, func(int) vswitch.MAC { return vswitchtest.Broadcast }},
		{"own port", nil, func(int) vswitch.MAC { return station(0) }},
		{"reserved", nil, func(int) vswitch.MAC { return vswitch.MAC{1, 0x80, 0xc2} }},
		{"guards", guarded, func(i int) vswitch.MAC {
			if i%2 == 0 {
				return vswitch.MAC{1, 0x80, 0xc2}
			}
			return station(1 + i%8)
		}},
		{"tags", mixed, func(i int) vswitch.MAC {
			if i%2 == 0 {
				return vswitchtest.Broadcast
			}
			return station(1 + i%8)
		}},
		{"tunnels", tunnels, func(i int) vswitch.MAC {
			if i%2 == 0 {
				return vswitchtest.Broadcast
			}
			return station(1 + i%8)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, ins := benchSwitch(t, 9, tt.configure)
			frames := batchOf(vswitch.MaxBatch, 0, tt.dst)
			deliverWithoutAllocating(t, ins[0], frames)
		})
	}
}

// TestLearningDoesNotAllocate: learning, moves and evictions do not allocate either.
func TestLearningDoesNotAllocate(t *testing.T) {
	_, ins := benchSwitch(t, 2, nil)
	learning := batchOf(vswitch.MaxBatch, 0, func(int) vswitch.MAC { return vswitchtest.Broadcast })
	next := 1 << 20
	n := testing.AllocsPerRun(200, func() {
		ins[0].Deliver(learning)
		ins[1].Deliver(learning)
		for i := range learning {
			src := vswitchtest.Station(next)
			copy(learning[i].Head[6:], src[:])
			next++
		}
	})
	if n != 0 {
		t.Errorf("%v allocations in each round", n)
	}
}

// A fullPort refuses every other frame.
type fullPort struct{ takes vswitch.Caps }

func (p *fullPort) Caps() vswitch.Caps { return p.takes }

func (p *fullPort) Transmit(frames []*vswitch.Frame) int {
	for i := 0; i < len(frames); i += 2 {
		frames[i].Refuse(vswitch.DropRingFull)
	}
	return len(frames) / 2
}

// TestRefusalsDoNotAllocate: frames that ports refuse cost no allocation, repaired or not.
func TestRefusalsDoNotAllocate(t *testing.T) {
	s, ins := benchSwitch(t, 2, nil)
	for i, takes := range []vswitch.Caps{{}, {Csum: true}, {MTU: 40}} {
		a, err := s.Attach(vswitch.DefaultPortConfig([]string{"none", "csum", "short"}[i]), &fullPort{takes})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
	}
	frames := batchOf(vswitch.MaxBatch, 0, func(int) vswitch.MAC { return vswitchtest.Broadcast })
	for _, flags := range []uint8{0, vswitch.HdrDataValid} {
		for i := range frames {
			frames[i].Offload.Flags = flags
		}
		deliverWithoutAllocating(t, ins[0], frames)
	}
}
