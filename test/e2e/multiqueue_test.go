//go:build e2e

package e2e

import (
	"context"
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestMultiqueue changes the number of a guest's queue pairs while it talks.
func TestMultiqueue(t *testing.T) {
	forEachQEMU(t, func(t *testing.T, q vm.QEMU) {
		ctx := testContext(t)
		s := swtest.Start(t, nil, "workers = 2\n[port.a]\nqueues = 4\n[port.b]\n")
		ca, cb := guestConfig(s, q, "a", 1), guestConfig(s, q, "b", 2)
		ca.Queues = 4
		vms := vm.StartAll(t, ca, cb)
		a, b := vms[0], vms[1]
		mustPing(t, ctx, a, "10.0.0.2")
		t.Cleanup(func() { t.Logf("drops: a %v, b %v", s.Port(t, "a").Counters.Drops, s.Port(t, "b").Counters.Drops) })

		// Whatever the number, no frame is lost during the change or after it, except those that
		// the guest put into a queue that it had just disabled: Linux tells the device first and
		// its network stack afterwards.
		pinging, stop := context.WithCancel(ctx)
		defer stop()
		done := make(chan vm.PingReport)
		go func() {
			r, err := b.PingAll(ctx, "10.0.0.1", "-c", "400", "-i", "0.01")
			if err != nil {
				t.Error(err)
			}
			stop()
			done <- r
		}()
		for pinging.Err() == nil {
			for _, n := range []int{4, 1, 3, 2} {
				a.MustRun(t, "ethtool -L eth0 combined "+string(rune('0'+n)))
				swtest.Until(t, "the port has as many queues", func() bool { return s.Port(t, "a").Queues == n })
				if err := a.WaitPing(ctx, "10.0.0.2"); err != nil {
					t.Fatal(err)
				}
			}
		}
		discarded := int(s.Port(t, "a").Counters.Drops["queue-disabled"])
		if r := <-done; r.Received+discarded < r.Sent || r.Sent == 0 {
			t.Errorf("ping while the number of queues changed: %+v, %d frames discarded from disabled queues", r, discarded)
		}

		a.MustRun(t, "ethtool -L eth0 combined 4")
		r, err := a.Iperf(ctx, "10.0.0.2", "--parallel", "8", "--bidir", "--time", "1")
		if err != nil {
			t.Fatal(err)
		}
		if r.Bytes == 0 {
			t.Error("nothing arrived")
		}
		t.Logf("iperf3 with 8 streams: %.0f Mbit/s", r.BitsPerSecond/1e6)
		port := s.Port(t, "a")
		if len(port.Rings) != 8 {
			t.Errorf("%d rings, want 8: %+v", len(port.Rings), port.Rings)
		}
		used := 0
		for _, ring := range port.Rings {
			if ring.Index%2 == 0 && ring.Used > 0 && ring.Enabled {
				used++
			}
		}
		if used < 2 {
			t.Errorf("frames were received on %d queues: flows are not spread: %+v", used, port.Rings)
		}
	})
}
