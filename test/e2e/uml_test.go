//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestUserModeLinux has guests whose kernel is the front-end, which passes the device's features
// through to its driver.
func TestUserModeLinux(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\nmac = \"52:54:00:00:00:0a\"\n[port.b]\n[port.c]\n")
	vms := vm.StartAll(t, guestConfig(s, vm.UML, "a", 1), guestConfig(s, vm.UML, "b", 2), guestConfig(s, vm.QEMU10, "c", 3))
	u := &umls{s: s, a: vms[0], b: vms[1], c: vms[2]}
	for _, step := range []struct {
		name string
		run  func(t *testing.T, ctx context.Context)
	}{
		{"traffic", u.traffic},
		{"rebind under traffic", u.rebind},
		{"shutdown", u.shutdown},
		{"kill", u.kill},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, testContext(t)) }) {
			t.FailNow()
		}
	}
}

type umls struct {
	s       *swtest.Switch
	a, b, c *vm.VM // c is QEMU's
}

func (u *umls) traffic(t *testing.T, ctx context.Context) {
	mustPing(t, ctx, u.a, "10.0.0.2")
	mustPing(t, ctx, u.c, "10.0.0.1", "-c", "200", "-f")
	mustPing(t, ctx, u.a, "fd00::3", "-s", "1452", "-M", "do")
	for _, to := range []string{"10.0.0.2", "10.0.0.3"} {
		mustIperf(t, ctx, u.a, to)
	}
	mustIperf(t, ctx, u.c, "10.0.0.1")

	p := u.s.Port(t, "a")
	if p.State != control.StateRunning || len(p.Rings) < 2 || !slices.Contains(p.Features, "RING_PACKED") || p.Rings[0].KickBy != "message" || p.Rings[0].CallBy != "message" {
		t.Errorf("port a: %+v", p)
	}
	if out := u.a.MustRun(t, "cat /sys/class/net/eth0/address"); strings.TrimSpace(out) != "52:54:00:00:00:0a" {
		t.Errorf("guest a has the address %s, and its device another one", out)
	}
}

// rebind takes the driver away and brings it back while other guests talk to the guest, in each way
// that there is.
func (u *umls) rebind(t *testing.T, ctx context.Context) {
	talking, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for talking.Err() == nil {
			_, _ = u.b.Run(talking, "ping -f -q -c 300 -w 2 10.0.0.1")
			_, _ = u.c.Run(talking, "ping -f -q -c 300 -w 2 10.0.0.1")
		}
	}()
	for i := range 6 {
		again := u.a.Rebind
		if i%2 != 0 {
			again = u.a.Reload
		}
		if err := again(ctx); err != nil {
			t.Fatal(err)
		}
		for _, from := range []*vm.VM{u.b, u.c} {
			if err := from.WaitPing(ctx, "10.0.0.1"); err != nil {
				t.Fatalf("after the driver had come back %d times: %v", i+1, err)
			}
		}
	}
	stop()
	<-done
	mustPing(t, ctx, u.a, "10.0.0.3")
	mustIperf(t, ctx, u.a, "10.0.0.3")
	if c := u.s.Port(t, "a").Counters; c.Reconnects != 0 || total(c.Resets) != 0 {
		t.Errorf("the front-end lost its connection: %+v", c)
	}
}

func (u *umls) shutdown(t *testing.T, ctx context.Context) {
	if _, err := u.a.Run(ctx, "poweroff"); err != nil {
		t.Fatal(err)
	}
	if err := u.a.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	u.s.WaitState(t, "a", control.StateListening)
	if p := u.s.Port(t, "a"); p.LastError != "" || total(p.Counters.Resets) != 0 {
		t.Errorf("after an orderly shutdown: error %q, resets %v", p.LastError, p.Counters.Resets)
	}
}

func total(counters map[string]uint64) (n uint64) {
	for _, k := range counters {
		n += k
	}
	return n
}

// kill ends a guest under traffic: its port has to be free for the next one.
func (u *umls) kill(t *testing.T, ctx context.Context) {
	killUnderTraffic(t, ctx, u.s, u.b, "b", "10.0.0.3")
	b := vm.Start(t, u.b.Config)
	mustPing(t, ctx, b, "10.0.0.3")
}
