//go:build e2e

package e2e

import (
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestTakeover has one vswitchd after another take over, while guests of all kinds ping each other.
// No ping is lost or answered twice, and no front-end connects again, which most of them could not.
func TestTakeover(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\nqueues = 2\n[port.b]\nmode = \"client\"\n[port.c]\n")
	a, b, c := guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2), guestConfig(s, vm.UML, "c", 3)
	a.Reconnect, a.Queues, a.DeviceOptions = 0, 2, "packed=on"
	b.Role = vm.Server
	vms := vm.StartAll(t, a, b, c)
	for _, addr := range []string{"10.0.0.2", "10.0.0.3"} {
		mustPing(t, ctx, vms[0], addr)
	}
	type result struct {
		from *vm.VM
		vm.PingReport
		err error
	}
	results := make(chan result, len(vms))
	for i, m := range vms {
		to := []string{"10.0.0.2", "10.0.0.3", "10.0.0.1"}[i]
		go func() {
			r, err := m.PingAll(ctx, to, "-c", "300", "-i", "0.01")
			results <- result{m, r, err}
		}()
	}
	for range 5 {
		waitFrames(t, s, 20, "a", "b", "c")
		s.TakeOver(t)
	}
	for range vms {
		r := <-results
		if r.err != nil || r.Received != r.Sent || r.Duplicates != 0 {
			t.Errorf("guest %s: %+v, %v", r.from.Config.Name, r.PingReport, r.err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		p := s.Port(t, name)
		if p.State != control.StateRunning || p.Session.Number != 1 || p.Counters.Resets.Total() != 0 {
			t.Errorf("port %s is %s in session %d, with %d resets", name, p.State, p.Session.Number, p.Counters.Resets.Total())
		}
	}
	// What the driver asks for later is done, too.
	vms[0].MustRun(t, "ip link set eth0 mtu 1400; ethtool -L eth0 combined 1 || true")
	vms[2].MustRun(t, "ip link set eth0 down; ip link set eth0 up")
	mustPing(t, ctx, vms[0], "10.0.0.2")
	mustPing(t, ctx, vms[2], "10.0.0.1")
	vms[0].Close()
	s.WaitState(t, "a", control.StateListening)
}
