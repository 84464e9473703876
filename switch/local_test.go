package vswitch_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Frames between a far machine and the host itself stay where they are: no guest sees them, and the
// wire does not see them twice. A guest's own frames to the host go out by the uplink.
func TestLocalAddresses(t *testing.T) {
	hostMAC := vswitchtest.Station(0x40)
	for _, hairpin := range []bool{false, true} {
		l := newLab(t, vswitch.Config{})
		up := l.add("up", func(c *vswitch.PortConfig) { c.Hairpin = hairpin })
		l.addAll("vm1", "vm2")
		if err := up.SetLocal([]vswitch.MAC{hostMAC}, nil); err != nil {
			t.Fatal(err)
		}
		l.send("up", ether(hostMAC, macC, "1"), ether(hostMAC, macC, "2", tag(0, 9)))
		l.want("from far to the host", got{})
		l.drops("up", drops{"to-host": 2})
		l.send("vm1", ether(hostMAC, macA, "3"), ether(hostMAC, macA, "4", tag(0, 9)))
		l.want("from a guest to the host", got{"up": "3 4"})
		l.send("vm1", ether(broadcast, hostMAC, "5", tag(0, 9)), ether(broadcast, hostMAC, "6"))
		l.got()
		l.wantWhere(hostMAC, 0, "up")
		l.wantWhere(hostMAC, 9, "up")

		// The interface gets another address.
		other := vswitchtest.Station(0x41)
		if err := up.SetLocal([]vswitch.MAC{other}, nil); err != nil {
			t.Fatal(err)
		}
		l.send("up", ether(other, macC, "7"))
		l.want("to the new address", got{})
		l.wantWhere(hostMAC, 0, "")
		l.s.Check(t)
	}
}

// The host's addresses stay pinned when the port is configured anew, in the VLANs that it carries
// then, and go when the port does.
func TestLocalAddressesStay(t *testing.T) {
	hostMAC := vswitchtest.Station(0x40)
	l := newLab(t, vswitch.Config{})
	up := l.add("up")
	if err := up.SetLocal([]vswitch.MAC{hostMAC}, nil); err != nil {
		t.Fatal(err)
	}
	cfg := up.Config()
	if len(cfg.MACs) != 0 {
		t.Errorf("the configuration has the addresses %v", cfg.MACs)
	}
	cfg.Tag = 5
	if err := up.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.wantWhere(hostMAC, 5, "up")
	l.wantWhere(hostMAC, 0, "")
	up.SetUp(false)
	l.wantWhere(hostMAC, 5, "up")
	up.Detach()
	if st := l.s.Stats(); st.Entries != 0 {
		t.Errorf("%+v", st)
	}
}

// An address cannot be a guest's and the host's: who comes second hears of it. What the host can
// have, it has.
func TestLocalAddressOfAGuest(t *testing.T) {
	hostMAC, second := vswitchtest.Station(0x40), vswitchtest.Station(0x41)
	l := newLab(t, vswitch.Config{})
	up := l.add("up")
	vm := l.add("vm", pinned(second))
	err := up.SetLocal([]vswitch.MAC{hostMAC, second}, nil)
	if !errors.Is(err, vswitch.ErrAddressPinned) || !strings.Contains(err.Error(), second.String()) {
		t.Errorf("got %v", err)
	}
	if got := l.info("up").Local; !slices.Equal(got, []vswitch.MAC{hostMAC}) {
		t.Errorf("the host has %v", got)
	}
	l.wantWhere(second, 0, "vm")

	cfg := vm.Config()
	cfg.MACs = []vswitch.MAC{hostMAC}
	if err := vm.Reconfigure(cfg); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Errorf("the guest took the host's address: %v", err)
	}
	cfg.MACs = nil
	if err := vm.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if err := up.SetLocal([]vswitch.MAC{hostMAC, second}, nil); err != nil {
		t.Errorf("after the guest gave it up: %v", err)
	}
	l.wantWhere(second, 0, "up")
	l.s.Check(t)
}

func (l *lab) info(port string) vswitch.PortInfo {
	l.t.Helper()
	for _, p := range l.s.Ports() {
		if p.Config.Name == port {
			return p
		}
	}
	l.t.Fatalf("no port %s", port)
	return vswitch.PortInfo{}
}

// What is only said to be the host's is not flooded, but yields to whoever sends from it, and to
// whose it is by configuration.
func TestOtherLocalAddresses(t *testing.T) {
	child := vswitchtest.Station(0x50)
	l := newLab(t, vswitch.Config{AgingTime: 60 * time.Second})
	up := l.add("up")
	l.addAll("vm1", "vm2")
	if err := up.SetLocal(nil, []vswitch.MAC{child}); err != nil {
		t.Fatal(err)
	}
	l.send("up", ether(child, macC, "1"), ether(child, macC, "2", tag(0, 9)))
	l.want("from far to a macvlan of the host", got{})
	l.drops("up", drops{"to-host": 2})
	l.send("vm1", ether(child, macA, "3"))
	l.want("from a guest", got{"up": "3"})
	if e := l.s.FDB("up", vswitch.AnyVLAN); len(e) != 3 || e[1].MAC != child || !e[1].All || !e[1].Static || e[1].Pinned {
		t.Errorf("FDB: %+v", e)
	}

	l.send("vm2", ether(broadcast, child, "4")) // it is a guest's after all
	l.got()
	l.events("vm2", events{"learned": 1})
	l.send("up", ether(child, macC, "5"))
	l.want("to the guest", got{"vm2": "5"})
	l.advance(90 * time.Second)
	l.send("up", ether(child, macC, "6"))
	l.want("when the guest has been forgotten", got{})

	cfg := l.ports["vm1"].Config()
	cfg.MACs = []vswitch.MAC{child}
	if err := l.ports["vm1"].Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.send("up", ether(child, macC, "7", tag(0, 9)))
	l.want("to the guest whose address it is", got{"vm1": "7"})
	if err := up.SetLocal(nil, nil); err != nil {
		t.Fatal(err)
	}
	l.s.Check(t)
	if st := l.s.Stats(); st.Static != 1 {
		t.Errorf("%+v", st)
	}
}
