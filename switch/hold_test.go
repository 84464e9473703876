package vswitch_test

import (
	"errors"
	"fmt"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

func pinned(macs ...vswitch.MAC) func(*vswitch.PortConfig) {
	return func(c *vswitch.PortConfig) { c.MACs = macs }
}

// The address of a port that carries all VLANs is pinned to the port in each of them: it is not
// learned behind another port, and no other port gets frames to it.
func TestPinnedOnAllVLANs(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  func(*vswitch.PortConfig)
	}{
		{"plain", vlanPort(vswitch.VLANDefault, 0)},
		{"trunk", vlanPort(vswitch.VLANTrunk, 0)},
		{"native-tagged", vlanPort(vswitch.VLANNativeTagged, 7)},
		{"native-untagged", vlanPort(vswitch.VLANNativeUntagged, 7)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.add("thief")
			l.add("vm", tt.cfg, pinned(macB))
			l.add("up")
			for _, v := range []uint16{1, 7, 10, 4094} {
				// Before and after the owner has sent a frame.
				for range 2 {
					l.send("thief", ether(broadcast, macB, "theft", tag(0, int(v))))
					l.got()
					l.wantWhere(macB, v, "vm")
					l.send("up", ether(macB, macC, "secret", tag(0, int(v))))
					l.want(fmt.Sprintf("VLAN %d", v), got{"vm": "secret"})
					l.send("vm", ether(broadcast, macB, "mine", tag(0, int(v))))
					l.got()
				}
			}
			if n := l.ports["thief"].counters.FDB()[vswitch.FDBStaticClaims]; n != 8 {
				t.Errorf("%d claims were counted at the thief, want 8", n)
			}
			if n := l.ports["vm"].counters.FDB()[vswitch.FDBLearned]; n != 0 {
				t.Errorf("%d of the owner's own addresses were learned", n)
			}
			l.s.Check(t)
		})
	}
}

// Two ports cannot have an address in the same VLAN, whether they list the VLAN or carry all VLANs.
func TestPinnedTwice(t *testing.T) {
	all := func(*vswitch.PortConfig) {}
	for _, tt := range []struct {
		name string
		a, b func(*vswitch.PortConfig)
		ok   bool
	}{
		{"all and all", all, all, false},
		{"all and one", all, vlanPort(vswitch.VLANAccess, 5), false},
		{"one and all", vlanPort(vswitch.VLANAccess, 5), all, false},
		{"list and all", vlanPort(vswitch.VLANTrunk, 0, 5, 4094), all, false},
		{"native all and one", vlanPort(vswitch.VLANNativeTagged, 5), vlanPort(vswitch.VLANAccess, 6), false},
		{"list and one of it", vlanPort(vswitch.VLANTrunk, 0, 5, 6), vlanPort(vswitch.VLANAccess, 6), false},
		{"list and another", vlanPort(vswitch.VLANTrunk, 0, 5, 6), vlanPort(vswitch.VLANAccess, 7), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.add("a", tt.a, pinned(macA))
			before := fmt.Sprint(l.s.FDB("", vswitch.AnyVLAN))
			cfg := vswitch.DefaultPortConfig("b")
			tt.b(&cfg)
			cfg.MACs = []vswitch.MAC{macC, macA}
			_, err := l.s.Attach(cfg, &vswitchtest.Recorder{})
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, vswitch.ErrAddressPinned) {
				t.Errorf("got %v", err)
			}
			if after := fmt.Sprint(l.s.FDB("", vswitch.AnyVLAN)); !tt.ok && after != before {
				t.Errorf("FDB is %s, was %s", after, before)
			}
			l.s.Check(t)
		})
	}
}
