//go:build e2e && long

package e2e

import (
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestClientMode has QEMU listen and vswitchd connect to it, and ends either of them again and
// again under traffic.
func TestClientMode(t *testing.T) {
	forEachQEMU(t, func(t *testing.T, q vm.QEMU) {
		ctx := testContext(t)
		s := swtest.Start(t, nil, "[port.a]\nmode = \"client\"\n[port.b]\n")
		if state := s.Port(t, "a").State; state != control.StateConnecting {
			t.Errorf("while nobody listens, port a is %s", state)
		}
		ca := guestConfig(s, q, "a", 1)
		ca.Role = vm.Server
		vms := vm.StartAll(t, ca, guestConfig(s, q, "b", 2))
		a, b := vms[0], vms[1]
		if p := s.Port(t, "a"); p.State != control.StateRunning || p.Mode != "client" {
			t.Errorf("port a: %+v", p.PortInfo)
		}
		mustPing(t, ctx, a, "10.0.0.2", "-c", "100", "-f")
		mustIperf(t, ctx, b, "10.0.0.1")

		for range 3 {
			boots := [2]string{a.Boot(), b.Boot()}
			st := startStream(ctx, a, b, "10.0.0.2", 0)
			waitFrames(t, s, 1000, "b")
			s.Kill()
			s.Launch(t)
			waitFrames(t, s, 1000, "b")
			st.stop(t)
			st.wait(t)
			mustPing(t, ctx, b, "10.0.0.1")
			if boots != [2]string{a.Boot(), b.Boot()} {
				t.Fatal("a guest has rebooted")
			}
		}

		for range 2 {
			flood := make(chan struct{})
			go func() {
				_, _ = b.Run(ctx, "ping -f -q -w 60 10.0.0.1")
				close(flood)
			}()
			waitFrames(t, s, 200, "a")
			a.Kill()
			s.WaitState(t, "a", control.StateConnecting)
			a.Close()
			a = vm.Start(t, a.Config)
			if err := a.WaitPing(ctx, "10.0.0.2"); err != nil {
				t.Fatal(err)
			}
			waitFrames(t, s, 200, "a")
			b.MustRun(t, "killall ping; true")
			<-flood
		}
		mustPing(t, ctx, b, "10.0.0.1")
		if n := s.Port(t, "a").Counters.Reconnects; n != 2 {
			t.Errorf("%d reconnects counted, want 2", n)
		}
	})
}
