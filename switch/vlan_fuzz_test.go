package vswitch_test

import (
	"fmt"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// fuzzedPort makes a port's VLAN settings of arbitrary bytes. They do not contradict each other.
func fuzzedPort(name string, b [8]byte) vswitch.PortConfig {
	c := vswitch.DefaultPortConfig(name)
	c.VLANMode = vswitch.VLANMode(b[0] % byte(vswitch.VLANTunnel+1))
	c.Tag = uint16(b[1] % 8)
	c.Priority = int(b[2] % 8)
	c.PriorityTags = []vswitch.PriorityTags{
		vswitch.PriorityTagsKeep, vswitch.PriorityTagsNo, vswitch.PriorityTagsNonzero, vswitch.PriorityTagsAlways,
	}[b[3]%4]
	set := func(bits byte) (vlans []uint16) {
		for v := range uint16(8) {
			if bits>>v&1 != 0 {
				vlans = append(vlans, v)
			}
		}
		return vlans
	}
	c.Trunks = set(b[4])
	if c.VLANMode == vswitch.VLANTunnel {
		c.Tag, c.CVLANs = max(c.Tag, 1), set(b[5])
		c.QinQ = []vswitch.QinQ{vswitch.QinQ8021AD, vswitch.QinQ8021Q}[b[6]%2]
	} else {
		c.PriorityOverride = b[6]%2 == 1
	}
	c.Hairpin = b[7]%2 == 1
	return c
}

// FuzzVLANs compares what becomes of a frame between two ports with what the model says: whether it
// arrives, with which bytes, and why not.
func FuzzVLANs(f *testing.F) {
	a, b := vswitchtest.Station(1), vswitchtest.Station(2)
	seeds := [][]vswitchtest.Tag{
		nil, {tag(0, 0)}, {tag(3, 0)}, {tag(0, 5)}, {tag(7, 5), tag(1, 6)}, {tag(2, 0), tag(0, 5)}, {{Type: 0x88a8, TCI: 5}, tag(0, 7)},
		{tag(0, 5), tag(0, 0)}, {tag(0, 7), tag(0, 6), tag(0, 5)},
	}
	for mode := range byte(vswitch.VLANTunnel + 1) {
		for i, tags := range seeds {
			frame := ether(b, a, "payload", tags...)
			f.Add(frame, []byte{mode, 5, byte(i), byte(i), 0, 0, 0, 0, byte(i), 5, 0, byte(mode), 0, 0x81, 1, 0})
			f.Add(frame[:min(len(frame), 17)], []byte{byte(i), 5, 0, 0, 0x60, 0, 1, 0, mode, 6, 2, byte(i), 0x21, 0x81, 0, 0})
		}
	}
	f.Fuzz(func(t *testing.T, frame, settings []byte) {
		if len(settings) < 16 || len(frame) > vswitch.MaxFrameLen {
			return
		}
		l := newLab(t, vswitch.Config{})
		m := newModel(t, 300)
		for i := range 2 {
			c := fuzzedPort(fmt.Sprintf("p%d", i), [8]byte(settings[8*i:]))
			l.add(c.Name, func(to *vswitch.PortConfig) { *to = c })
			m.ports[c.Name] = &modelPort{cfg: c, up: true, drops: map[string]uint64{}}
		}
		l.send("p0", slices.Clone(frame))
		m.deliver("p0", []*modelMessage{{whole: frame, bytes: frame}})
		m.compare(t, l)
	})
}
