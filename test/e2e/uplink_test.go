//go:build e2e

package e2e

import (
	"net"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestUplink joins a guest to a network namespace through an uplink on a veth.
func TestUplink(t *testing.T) {
	ctx := testContext(t)
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	there.Run(t, "ip", "addr", "add", "fd00::9/64", "dev", "far0", "nodad")
	nsServer(t, there)

	s := swtest.Start(t, here, "[port.a]\n[uplink.lan]\ninterface = \"nic0\"\n")
	a := vm.Start(t, guestConfig(s, vm.QEMU10, "a", 1))
	s.WaitState(t, "lan", control.StateRunning)

	mustPing(t, ctx, a, "10.0.0.9")
	mustPing(t, ctx, a, "fd00::9", "-s", "1452", "-M", "do")
	nsPing(t, there, "10.0.0.1", "-c", "100", "-i", "0.002")
	t.Log("\n" + there.Run(t, "ping", "-c", "20", "-i", "0.05", "-W", "5", "-q", "10.0.0.1"))

	for _, offloads := range []string{"on", "off"} {
		t.Run("offloads "+offloads, func(t *testing.T) {
			for _, n := range []struct {
				ns  *swtest.Netns
				nic string
			}{{here, "nic0"}, {there, "far0"}} {
				n.ns.Run(t, "ethtool", "-K", n.nic, "tx", offloads, "tso", offloads, "gso", offloads, "gro", offloads)
			}
			mustIperf(t, ctx, a, "10.0.0.9")
			mustIperf(t, ctx, a, "fd00::9")
			nsIperf(t, there, "10.0.0.1")
			nsIperf(t, there, "fd00::1")
		})
	}

	t.Run("VLAN tags pass", func(t *testing.T) {
		answerVLAN(t, there, "far0", 5, net.IPv4(10, 5, 0, 9))
		a.MustRun(t, "ip link add link eth0 name eth0.5 type vlan id 5 && ip addr add 10.5.0.1/24 dev eth0.5 && ip link set eth0.5 up")
		mustPing(t, ctx, a, "10.5.0.9", "-c", "20")
		// Without the tag nobody answers.
		a.MustRun(t, "ip link add link eth0 name eth0.6 type vlan id 6 && ip addr add 10.6.0.1/24 dev eth0.6 && ip link set eth0.6 up")
		if r, err := a.Ping(ctx, "10.6.0.9", "-c", "1", "-W", "1"); err != nil || r.Received != 0 {
			t.Errorf("VLAN 6: %+v, %v", r, err)
		}
		found := false
		for _, e := range s.FDB(t) {
			found = found || e.MAC == a.Config.MAC && e.VLAN == 5 && e.Port == "a"
		}
		if !found {
			t.Errorf("guest is not in the FDB of VLAN 5: %+v", s.FDB(t))
		}
	})

	t.Run("interface goes and comes", func(t *testing.T) {
		there.Run(t, "ip", "link", "set", "far0", "down")
		s.WaitState(t, "lan", control.StateWaiting)
		there.Run(t, "ip", "link", "set", "far0", "up")
		s.WaitState(t, "lan", control.StateRunning)
		there.Run(t, "ip", "addr", "replace", "fd00::9/64", "dev", "far0", "nodad")
		if err := a.WaitPing(ctx, "10.0.0.9"); err != nil {
			t.Fatal(err)
		}

		here.Run(t, "ip", "link", "del", "nic0")
		s.WaitState(t, "lan", control.StateWaiting)
		swtest.NewVeth(t, here, "nic0", there, "far0")
		there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
		s.WaitState(t, "lan", control.StateRunning)
		a.MustRun(t, "ip neigh flush all") // the new interface has another address
		if err := a.WaitPing(ctx, "10.0.0.9"); err != nil {
			t.Fatal(err)
		}
	})
	for reason, n := range s.Port(t, "lan").Counters.Drops {
		t.Logf("lan dropped %d frames: %s", n, reason)
	}
	for reason, n := range s.Port(t, "a").Counters.Drops {
		t.Logf("a dropped %d frames: %s", n, reason)
		if reason == "too-big" || reason == "bad-offload" {
			t.Errorf("%d frames dropped: %s", n, reason)
		}
	}
}
