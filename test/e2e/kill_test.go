//go:build e2e && long

package e2e

import (
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestKillSwitch kills vswitchd under traffic 50 times. Neither guest may be stuck or start again,
// and one TCP connection in either direction lasts for all rounds and is not corrupted.
func TestKillSwitch(t *testing.T) {
	for name, options := range map[string]string{
		"split":           "",
		"packed":          "packed=on",
		"packed-multiple": "packed=on,indirect_desc=off", // chains of several descriptors
	} {
		t.Run(name, func(t *testing.T) { killSwitch(t, options) })
	}
}

func killSwitch(t *testing.T, options string) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	ca, cb := guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2)
	ca.DeviceOptions, cb.DeviceOptions = options, options
	ca.Reconnect, cb.Reconnect = 20*time.Millisecond, 20*time.Millisecond
	vms := vm.StartAll(t, ca, cb)
	a, b := vms[0], vms[1]
	mustPing(t, ctx, a, "10.0.0.2")

	boots := [2]string{a.Boot(), b.Boot()}
	there, back := startStream(ctx, a, b, "10.0.0.2", 0), startStream(ctx, b, a, "10.0.0.1", 0)
	const flood = "ping -f -q -s 1000 -w 600 "
	floods := make(chan struct{}, 2)
	for m, addr := range map[*vm.VM]string{a: "10.0.0.2", b: "10.0.0.1"} {
		go func() {
			_, _ = m.Run(ctx, flood+addr)
			floods <- struct{}{}
		}()
	}
	var slowest time.Duration
	for round := range 50 {
		waitFrames(t, s, 200, "a", "b")
		s.Kill()
		began := time.Now()
		s.Launch(t)
		for _, port := range []string{"a", "b"} {
			s.WaitState(t, port, control.StateRunning)
			if n := s.Port(t, port).Counters.Resets.Total(); n != 0 {
				t.Fatalf("round %d: port %s was reset: %s", round, port, s.Port(t, port).LastError)
			}
		}
		waitFrames(t, s, 1, "a", "b")
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("50 rounds; at most %v from the start of vswitchd to frames in both directions", slowest.Round(time.Millisecond))
	for _, m := range vms {
		m.MustRun(t, "killall ping; true")
		<-floods
	}
	for _, st := range []*stream{there, back} {
		st.stop(t)
		st.wait(t)
	}
	mustPing(t, ctx, a, "10.0.0.2", "-c", "100", "-f")
	mustPing(t, ctx, b, "10.0.0.1", "-c", "100", "-f")
	if boots != [2]string{a.Boot(), b.Boot()} {
		t.Error("a guest has rebooted")
	}
}
