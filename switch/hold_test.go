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

// The address of a port that carries all VLANs is the port's in each of them: nobody learns it away,
// and nobody else gets what is sent to it.
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
				// Before and after the owner has sent: the first frame of an address must not be anybody's.
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

// A trunk with a list of VLANs has its address in these, and in no other.
func TestPinnedOnAListOfVLANs(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("vm", vlanPort(vswitch.VLANTrunk, 0, 10, 20), pinned(macB))
	l.add("other", pinned(macC))
	for v, want := range map[uint16]string{10: "vm", 20: "vm", 30: "other"} {
		l.send("other", ether(broadcast, macB, "x", tag(0, int(v))))
		l.wantWhere(macB, v, want)
	}
}

// What others have of an address is theirs no longer once a port gets the address in all VLANs; it
// is learned again once the port gives the address up.
func TestPinningTakesWhatWasLearned(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("thief")
	vm := l.add("vm")
	for v := range uint16(20) {
		l.send("thief", ether(broadcast, macB, "x", tag(0, int(v))))
	}
	if err := l.s.AddStatic(macB, 30, "thief"); err != nil {
		t.Fatal(err)
	}
	cfg := vm.Config()
	cfg.MACs = []vswitch.MAC{macB}
	if err := vm.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	for _, v := range []uint16{1, 19, 30} {
		l.wantWhere(macB, v, "vm")
	}
	if e := l.s.FDB("", vswitch.AnyVLAN); len(e) != 1 || !e[0].All || !e[0].Pinned || e[0].VLAN != 0 {
		t.Errorf("FDB: %+v", e)
	}
	if st := l.s.Stats(); st.Entries != 1 || st.Static != 1 {
		t.Errorf("%+v", st)
	}
	l.s.Check(t)
	if err := l.s.DelFDB(macB, 12); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Errorf("deleting it in a VLAN: %v", err)
	}

	cfg.MACs = nil
	if err := vm.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.send("thief", ether(broadcast, macB, "x", tag(0, 5)))
	l.wantWhere(macB, 5, "thief")
	l.wantWhere(macB, 6, "")
	if st := l.s.Stats(); st.Entries != 1 || st.Static != 0 {
		t.Errorf("%+v", st)
	}
	l.s.Check(t)
}

// Two ports cannot have an address in the same VLAN, whichever of them names the VLAN.
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

// Static entries contradict an address that is pinned in all VLANs in each of them.
func TestStaticEntryOfAPinnedAddress(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", pinned(macA))
	l.add("b")
	for _, port := range []string{"a", "b"} {
		for _, v := range []uint16{0, 10} {
			if err := l.s.AddStatic(macA, v, port); !errors.Is(err, vswitch.ErrAddressPinned) {
				t.Errorf("VLAN %d, port %s: %v", v, port, err)
			}
		}
	}
}

// Pinned addresses take one place each in the table, on ports that carry all VLANs too.
func TestPinnedAddressesFillTheTable(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 10})
	var macs []vswitch.MAC
	for i := range 10 {
		macs = append(macs, vswitchtest.Station(100+i))
	}
	a := l.add("a", pinned(macs...))
	cfg := a.Config()
	cfg.MACs = append(cfg.MACs, macB)
	if err := a.Reconfigure(cfg); !errors.Is(err, vswitch.ErrTableFull) {
		t.Errorf("one more: %v", err)
	}
	if st := l.s.Stats(); st.Entries != 10 || st.Static != 10 {
		t.Errorf("%+v", st)
	}
	l.add("b")
	l.send("b", ether(macs[0], macC, "x"))
	l.want("to a pinned address", got{"a": "x"})
	l.wantWhere(macC, 0, "")
	if n := l.ports["b"].counters.FDB()[vswitch.FDBFull]; n != 1 {
		t.Errorf("the table was full %d times for b, want 1", n)
	}
}
