//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestGuests takes two guests through all that happens in a guest's life.
func TestGuests(t *testing.T) {
	forEachQEMU(t, func(t *testing.T, q vm.QEMU) {
		s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
		vms := vm.StartAll(t, guestConfig(s, q, "a", 1), guestConfig(s, q, "b", 2))
		g := &guests{t: t, s: s, a: vms[0], b: vms[1]}
		for _, step := range []struct {
			name string
			run  func(t *testing.T, ctx context.Context)
		}{
			{"traffic", g.traffic},
			{"jumbo frames", g.jumbo},
			{"idle", g.idle},
			{"rebind", g.rebind},
			{"reboot", g.reboot},
			{"vswitchd killed", g.killSwitch},
			{"QEMU killed", g.killQEMU},
			{"shutdown", g.shutdown},
		} {
			if !t.Run(step.name, func(t *testing.T) { step.run(t, testContext(t)) }) {
				t.FailNow() // the guests are in a state that no further step expects
			}
		}
	})
}

type guests struct {
	t    *testing.T // of all steps: guests live as long
	s    *swtest.Switch
	a, b *vm.VM
}

func (g *guests) traffic(t *testing.T, ctx context.Context) {
	mustPing(t, ctx, g.a, "10.0.0.2")
	mustPing(t, ctx, g.b, "10.0.0.1", "-c", "200", "-f")
	mustPing(t, ctx, g.a, "fd00::2", "-s", "1452", "-M", "do")
	mustIperf(t, ctx, g.a, "10.0.0.2")

	pa, pb := g.s.Port(t, "a"), g.s.Port(t, "b")
	if pa.State != control.StateRunning || pa.Kind != control.KindGuest || len(pa.Rings) != 2 || len(pa.Regions) == 0 {
		t.Errorf("port a: %+v", pa)
	}
	for _, f := range []string{"VERSION_1", "MRG_RXBUF", "EVENT_IDX", "INDIRECT_DESC"} {
		if !strings.Contains(strings.Join(pa.Features, " "), f) {
			t.Errorf("feature %s was not negotiated: %v", f, pa.Features)
		}
	}
	if pa.Counters.RxFrames == 0 || pb.Counters.TxFrames == 0 || pa.Counters.Kicks == 0 || pa.Counters.Calls == 0 {
		t.Errorf("counters: a %+v, b %+v", pa.Counters, pb.Counters)
	}
	checkDetail(t, pa)
	countsAgree(t, g.s, g.a, "a")
	countsAgree(t, g.s, g.b, "b")
	seen := map[string]string{}
	for _, e := range g.s.FDB(t) {
		seen[e.MAC] = e.Port
	}
	if seen[g.a.Config.MAC] != "a" || seen[g.b.Config.MAC] != "b" {
		t.Errorf("FDB: %v", seen)
	}
}

// countsAgree waits until a guest, which has not been restarted, has counted as many frames as its
// port.
func countsAgree(t *testing.T, s *swtest.Switch, guest *vm.VM, port string) {
	t.Helper()
	swtest.Until(t, "the guest and its port count the same frames", func() bool {
		counted := strings.Fields(guest.MustRun(t, "cd /sys/class/net/eth0/statistics; cat tx_packets rx_packets"))
		c := s.Port(t, port).Counters
		return slices.Equal(counted, []string{fmt.Sprint(c.RxFrames), fmt.Sprint(c.TxFrames)})
	})
}

// checkDetail checks what a port tells of a guest that runs Linux under QEMU.
func checkDetail(t *testing.T, p control.PortDetail) {
	t.Helper()
	s := p.Session
	if s == nil || !s.Owned || s.BackendChannel != "open" || s.DirtyLog.On || s.InFlight.Present ||
		!slices.Equal(s.DeviceStatus.Names, []string{"ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"}) {
		t.Errorf("session: %+v", s)
	}
	// QEMU acknowledges all but what it tells the guest itself.
	if !slices.Contains(p.ProtocolFeatureBits, control.FeatureBit{Bit: 12, Name: "INFLIGHT_SHMFD", Acked: true}) ||
		!slices.Equal(p.ProtocolFeaturesNotAcked, []string{"CONFIG"}) || !slices.Contains(p.FeaturesNotAcked, "LOG_ALL") {
		t.Errorf("features: %v, %v, without %v", p.FeatureBits, p.ProtocolFeatureBits, p.FeaturesNotAcked)
	}
	for i, r := range p.Rings {
		if r.Index != i || !r.Started || !r.Running || !r.Enabled || r.Broken != "" || r.KickBy != "eventfd" || r.CallBy != "eventfd" ||
			r.WantKicks.When != "at-event" || r.WantCalls.When != "at-event" || r.AvailIdx == nil || r.BadChains != 0 ||
			r.InFlight != 0 || r.Waiting > r.Size || r.DescAddr == 0 || r.Base != uint32(r.Avail) {
			t.Errorf("ring: %+v", r)
		}
	}
	if p.Rings[0].Waiting == 0 || p.Rings[1].Kicks == 0 {
		t.Errorf("no buffers wait, or none was ever announced: %+v", p.Rings)
	}
	for _, r := range p.Regions {
		if r.PageSize != 4096 || r.Size == 0 {
			t.Errorf("region: %+v", r)
		}
	}
}

func (g *guests) jumbo(t *testing.T, ctx context.Context) {
	for _, m := range []*vm.VM{g.a, g.b} {
		m.MustRun(t, "ip link set eth0 mtu 9000")
	}
	mustPing(t, ctx, g.a, "10.0.0.2", "-s", "8972", "-M", "do")
	mustPing(t, ctx, g.b, "10.0.0.1", "-s", "8972", "-M", "do", "-c", "100", "-f")
	mustIperf(t, ctx, g.a, "10.0.0.2")
	for _, m := range []*vm.VM{g.a, g.b} {
		m.MustRun(t, "ip link set eth0 mtu 1500")
	}
}

// idle measures what vswitchd costs when nobody talks: less than 1 % of a CPU.
func (g *guests) idle(t *testing.T, ctx context.Context) {
	// That is a share of a time, so a time has to be waited for. Guests chatter a little at first
	// (IPv6): the best of several seconds is what idle costs.
	const span = 2 * time.Second
	best := span
	for range 5 {
		before := g.s.CPU(t)
		time.Sleep(span)
		best = min(best, g.s.CPU(t)-before)
		if best < span/100 {
			break
		}
	}
	t.Logf("vswitchd used %v of CPU in %v, with two idle guests", best, span)
	if best >= span/100 {
		t.Errorf("not under 1 %%: the workers do not sleep")
	}
}

func (g *guests) rebind(t *testing.T, ctx context.Context) {
	for range 3 {
		if err := g.a.Rebind(ctx); err != nil {
			t.Fatal(err)
		}
		if err := g.b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	mustPing(t, ctx, g.a, "10.0.0.2")
}

func (g *guests) reboot(t *testing.T, ctx context.Context) {
	if err := g.a.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.b.WaitPing(ctx, "10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	mustPing(t, ctx, g.a, "10.0.0.2", "-c", "20")
}

// killSwitch kills vswitchd under traffic: the guests have to go on, with the same TCP connection,
// once it is back.
func (g *guests) killSwitch(t *testing.T, ctx context.Context) {
	for range 3 {
		boots := [2]string{g.a.Boot(), g.b.Boot()}
		type result struct {
			r   vm.IperfReport
			err error
		}
		done := make(chan result)
		before := g.s.Port(t, "b").Counters.TxFrames
		go func() {
			r, err := g.a.Iperf(ctx, "10.0.0.2", "--time", "4")
			done <- result{r, err}
		}()
		swtest.Until(t, "frames flow", func() bool { return g.s.Port(t, "b").Counters.TxFrames > before+500 })
		g.s.Kill()
		back := time.Now()
		g.s.Launch(t)
		g.s.WaitState(t, "a", control.StateRunning)
		g.s.WaitState(t, "b", control.StateRunning)
		if err := g.b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}
		t.Logf("ping works %v after vswitchd was started again", time.Since(back).Round(time.Millisecond))
		res := <-done
		if res.err != nil {
			t.Fatalf("the TCP connection did not survive: %v", res.err)
		}
		t.Logf("iperf3 across it: %.0f Mbit/s", res.r.BitsPerSecond/1e6)
		if g.a.Boot() != boots[0] || g.b.Boot() != boots[1] {
			t.Fatal("a guest has rebooted")
		}
	}
}

// killUnderTraffic kills a guest, which is at a port, while it floods another one with pings.
func killUnderTraffic(t *testing.T, ctx context.Context, s *swtest.Switch, guest *vm.VM, port, to string) {
	t.Helper()
	before := s.Port(t, port).Counters.RxFrames
	flood := make(chan struct{})
	go func() {
		// Ends when the guest does.
		_, _ = guest.Run(ctx, "ping -f -q -s 1400 "+to)
		close(flood)
	}()
	swtest.Until(t, "frames flow", func() bool { return s.Port(t, port).Counters.RxFrames > before+200 })
	guest.Kill()
	s.WaitState(t, port, control.StateListening)
	guest.Close()
	<-flood
}

// killQEMU kills a guest under traffic, again and again: its port has to be free for the next, and
// nothing may pile up in vswitchd.
func (g *guests) killQEMU(t *testing.T, ctx context.Context) {
	var fds int
	for round := range 3 {
		killUnderTraffic(t, ctx, g.s, g.a, "a", "10.0.0.2")
		if n := g.s.FDs(t); round == 0 {
			fds = n
		} else if n != fds {
			t.Errorf("%d file descriptors are open, %d the last time", n, fds)
		}
		g.a = vm.Start(g.t, g.a.Config)
		if err := g.b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.s.Port(t, "a").Counters.Reconnects; n != 3 {
		t.Errorf("%d reconnects counted, want 3", n)
	}
	mustPing(t, ctx, g.a, "10.0.0.2")
}

// shutdown ends the guests and then vswitchd, in good order.
func (g *guests) shutdown(t *testing.T, ctx context.Context) {
	for _, m := range []*vm.VM{g.a, g.b} {
		if _, err := m.Run(ctx, "poweroff"); err != nil {
			t.Fatal(err)
		}
		if err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		g.s.WaitState(t, m.Config.Name, control.StateListening)
	}
	if e := g.s.Port(t, "a").LastError; e != "" {
		t.Errorf("after an orderly shutdown the port has the error %q", e)
	}
	g.s.Signal(t, syscall.SIGTERM)
	if code := g.s.Wait(); code != 0 {
		t.Errorf("vswitchd ended with status %d", code)
	}
	for _, f := range []string{g.s.Socket("a"), g.s.Socket("b"), g.s.ControlSocket()} {
		if _, err := os.Lstat(f); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
}
