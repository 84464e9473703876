//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// A loopSite is two ports of a switch that are connected outside of it.
type loopSite struct {
	s            *swtest.Switch
	in           *swtest.Netns // behind the uplink in, which is not part of the loop
	first, other string        // the ports
	cut          func()        // disconnects the ports
}

// frames returns how many frames have come in by the two ports.
func (l *loopSite) frames(t *testing.T) uint64 {
	return l.s.Port(t, l.first).Counters.RxFrames + l.s.Port(t, l.other).Counters.RxFrames
}

// shout sends broadcasts into the switch: ARP requests for an address that nobody has.
func (l *loopSite) shout() {
	_ = l.in.Command("ping", "-c", "1", "-W", "1", "10.0.0.77").Run() // there is no answer
}

// blocked returns the port that is blocked, or "".
func (l *loopSite) blocked(t *testing.T) string {
	for _, name := range []string{l.first, l.other} {
		if l.s.Port(t, name).State == control.StateBlocked {
			return name
		}
	}
	return ""
}

// begin starts a switch with the uplink in.
func (l *loopSite) begin(t *testing.T, here *swtest.Netns, config string) {
	l.in = swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic9", l.in, "far9")
	l.in.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far9")
	l.s = swtest.Start(t, here, config+"[uplink.in]\ninterface = \"nic9\"\n")
	l.s.WaitState(t, "in", control.StateRunning)
}

const twoUplinks = "[uplink.lan]\ninterface = \"nic0\"\n[uplink.wan]\ninterface = \"nic1\"\n"

// oneSegment has two uplinks on one segment: a bridge in another namespace.
func oneSegment(t *testing.T, keys string) *loopSite {
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	l := &loopSite{first: "lan", other: "wan"}
	l.begin(t, here, keys+twoUplinks)
	there.Run(t, "ip", "link", "add", "br0", "up", "type", "bridge")
	for i := range 2 {
		far := fmt.Sprint("far", i)
		swtest.NewVeth(t, here, fmt.Sprint("nic", i), there, far)
		there.Run(t, "ip", "link", "set", far, "master", "br0")
	}
	l.cut = func() { there.Run(t, "ip", "link", "set", "far1", "nomaster") }
	return l
}

// oneCable has two uplinks that are the ends of one cable.
func oneCable(t *testing.T, keys string) *loopSite {
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	l := &loopSite{first: "lan", other: "wan"}
	l.begin(t, here, keys+twoUplinks)
	swtest.NewVeth(t, here, "nic0", here, "nic1")
	l.cut = func() {
		here.Run(t, "ip", "link", "del", "nic0")
		swtest.NewVeth(t, here, "nic0", there, "far0")
		swtest.NewVeth(t, here, "nic1", there, "far1")
	}
	return l
}

// bridgingGuest has a guest that bridges its two ports.
func bridgingGuest(t *testing.T, keys string) *loopSite {
	l := &loopSite{first: "vm1a", other: "vm1b"}
	l.begin(t, swtest.NewNetns(t), keys+"[port.vm1a]\n[port.vm1b]\n")
	guest := vm.Start(t, vm.Config{
		Name: "vm1", Socket: l.s.Socket("vm1a"), More: []vm.NIC{{Socket: l.s.Socket("vm1b"), MAC: "52:54:00:00:00:1b"}},
	})
	guest.MustRun(t, "ip link add br0 up type bridge && ip link set eth0 up master br0 && ip link set eth1 up master br0")
	l.cut = func() { guest.MustRun(t, "ip link del br0") }
	return l
}

var loopSites = map[string]func(t *testing.T, keys string) *loopSite{
	"two uplinks on one segment":         oneSegment,
	"a cable between two uplinks":        oneCable,
	"a guest that bridges its two ports": bridgingGuest,
}

// TestLoopIsCut: of two ports that are connected outside of the switch, one is blocked before many
// frames have gone round. It says why, the rest works, and when the loop is gone, the port comes
// back.
func TestLoopIsCut(t *testing.T) {
	for name, make := range loopSites {
		t.Run(name, func(t *testing.T) {
			l := make(t, "loop_block_time = \"5s\"\n")
			swtest.Until(t, "a port is blocked", func() bool {
				l.shout()
				return l.blocked(t) != ""
			})
			n := l.frames(t)
			t.Logf("%d frames came in by the ports before one was blocked", n)
			port, other := l.blocked(t), l.first
			if port == l.first {
				other = l.other
			}

			// Now it is quiet: what is flooded goes round no more.
			sent := func() uint64 { return l.s.Port(t, "in").Counters.RxFrames }
			before := sent()
			swtest.Until(t, "frames are sent", func() bool {
				l.shout()
				return sent() >= before+5
			})
			if all := l.frames(t); all >= 1000 || all-n > 100 {
				t.Errorf("%d frames came in by the ports, %d of them while %d were sent", all, all-n, sent()-before)
			}

			l.s.WaitLog(t, 0, "a port is blocked: there is a loop")
			shown := l.s.Ctl(t, "port", "show", port)
			if want := "with port " + other + " in VLAN 0"; !strings.Contains(shown, want) || !strings.Contains(shown, "blocked") {
				t.Errorf("%q is not in\n%s", want, shown)
			}
			if c := l.s.Port(t, port).Counters; c.LoopEvents["blocks"] == 0 {
				t.Errorf("counters of %s: %+v", port, c)
			}
			if p := l.s.Port(t, other); p.State != control.StateRunning {
				t.Errorf("%s is %s", other, p.State)
			}

			// As long as the loop is there, the port stays blocked.
			swtest.Until(t, "the block is prolonged", func() bool { return l.s.Port(t, port).Counters.LoopEvents["blocks"] >= 2 })
			l.cut()
			swtest.Until(t, "no port is blocked", func() bool {
				return l.s.Port(t, l.first).State == control.StateRunning && l.s.Port(t, l.other).State == control.StateRunning
			})
			l.s.WaitLog(t, 0, "a port is no longer blocked")
			if all := l.frames(t); all >= 1000 {
				t.Errorf("%d frames came in by the ports", all)
			}
		})
	}
}

// TestLoopWithoutDetection: without loop detection, frames go round without end. Switching it on in
// the middle of the storm ends the storm.
func TestLoopWithoutDetection(t *testing.T) {
	for name, make := range loopSites {
		t.Run(name, func(t *testing.T) {
			l := make(t, "loop_detection = false\n")
			storm := func(frames uint64) func() bool {
				return func() bool {
					l.shout()
					return l.frames(t) > frames
				}
			}
			swtest.Until(t, "20,000 frames have gone round", storm(20_000))
			if b := l.blocked(t); b != "" {
				t.Errorf("%s is blocked", b)
			}
			l.s.Ctl(t, "switch", "set", "loop_detection=true")
			swtest.Until(t, "a port is blocked", func() bool { return l.blocked(t) != "" })
		})
	}
}
