//go:build e2e

package e2e

import (
	"context"
	"slices"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestUserModeLinuxMultiqueue has Linux's driver command its device: the front-end leaves the
// control queue to the back-end.
func TestUserModeLinuxMultiqueue(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "workers = 2\n[port.a]\nqueues = 4\nmac = \"52:54:00:00:00:0a\"\n[port.b]\n")
	vms := vm.StartAll(t, guestConfig(s, vm.UML, "a", 1), guestConfig(s, vm.QEMU10, "b", 2))
	a, b := vms[0], vms[1]
	commanded := func() control.ControlQueue {
		t.Helper()
		p := s.Port(t, "a")
		if p.Session == nil || p.Session.ControlQueue == nil {
			t.Fatalf("port a has no control queue: %+v", p)
		}
		return *p.Session.ControlQueue
	}
	mustPing(t, ctx, b, "10.0.0.1")
	if c := commanded(); c.Ring != 8 || c.QueuePairs != 1 || c.Commands == 0 || c.Refused != 0 ||
		!slices.Equal(c.Receives, []string{"own", "broadcast"}) || len(c.Multicast) == 0 {
		t.Errorf("commanded: %+v", c)
	}

	t.Run("queue pairs", func(t *testing.T) {
		for _, n := range []string{"4", "2", "1", "3", "4"} {
			a.MustRun(t, "ethtool -L eth0 combined "+n)
			if got := commanded().QueuePairs; got != int(n[0]-'0') {
				t.Errorf("the driver uses %d queue pairs, want %s", got, n)
			}
			mustPing(t, ctx, b, "10.0.0.1", "-c", "100", "-f")
		}
		mustIperf(t, ctx, b, "10.0.0.1")
		mustIperf(t, ctx, a, "10.0.0.2")
	})

	t.Run("receive filter", func(t *testing.T) {
		filtered := func() uint64 { return s.Port(t, "a").Counters.Drops["guest-filter"] }
		b.MustRun(t, "ip neigh replace 10.0.0.99 lladdr 52:54:00:99:99:99 dev eth0 nud permanent")
		strangers := func() uint64 {
			before := filtered()
			b.MustRun(t, "ping -c 5 -i 0.1 -W 0.1 10.0.0.99 || true") // unknown unicast, which is flooded
			return filtered() - before
		}
		if n := strangers(); n < 5 {
			t.Errorf("%d of 5 frames for nobody were filtered", n)
		}
		a.MustRun(t, "ip link set eth0 promisc on")
		if c := commanded(); !slices.Equal(c.Receives, []string{"all"}) {
			t.Errorf("commanded: %+v", c)
		}
		if n := strangers(); n != 0 {
			t.Errorf("%d frames were filtered for a promiscuous driver", n)
		}
		a.MustRun(t, "ip link set eth0 promisc off")

		// b sends with a tag that a's driver does not know yet.
		for _, m := range []*vm.VM{a, b} {
			m.MustRun(t, "ip link add link eth0 name v7 type vlan id 7")
		}
		b.MustRun(t, "ip link set v7 up && ip address add 10.7.0.2/24 dev v7 && ip neigh replace 10.7.0.1 lladdr 52:54:00:00:00:0a dev v7 nud permanent")
		a.MustRun(t, "ip link set v7 up && ip address add 10.7.0.1/24 dev v7")
		if c := commanded(); c.VLANs == nil || !slices.Contains(*c.VLANs, 7) {
			t.Errorf("commanded: %+v", c)
		}
		mustPing(t, ctx, b, "10.7.0.1")
		a.MustRun(t, "ip link del v7")
		before := filtered()
		b.MustRun(t, "ping -c 5 -i 0.1 -W 0.1 10.7.0.1 || true")
		if n := filtered() - before; n < 5 {
			t.Errorf("%d of 5 frames of a VLAN that the driver has left were filtered", n)
		}
	})

	t.Run("address", func(t *testing.T) {
		a.MustRun(t, "ip link set eth0 down && ip link set eth0 address 52:54:00:00:00:aa && ip link set eth0 up && ip address replace 10.0.0.1/24 dev eth0")
		b.MustRun(t, "ip neigh flush dev eth0 && ip neigh del 10.0.0.99 dev eth0 || true")
		if err := b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}
		mustPing(t, ctx, b, "10.0.0.1")
	})

	t.Run("offloads", func(t *testing.T) {
		a.MustRun(t, "ethtool -K eth0 rx-gro-hw off")
		if c := commanded(); !slices.Contains(c.OffloadsOff, "GUEST_TSO4") {
			t.Errorf("commanded: %+v", c)
		}
		mustIperf(t, ctx, b, "10.0.0.1")
		a.MustRun(t, "ethtool -K eth0 rx-gro-hw on")
		if c := commanded(); len(c.OffloadsOff) != 0 || c.Refused != 0 {
			t.Errorf("commanded: %+v", c)
		}
		mustIperf(t, ctx, b, "10.0.0.1")
	})

	t.Run("rebind", func(t *testing.T) {
		a.MustRun(t, "ip link set eth0 promisc on")
		for _, again := range []func(context.Context) error{a.Rebind, a.Reload} {
			if err := again(ctx); err != nil {
				t.Fatal(err)
			}
			if err := b.WaitPing(ctx, "10.0.0.1"); err != nil {
				t.Fatal(err)
			}
			if c := commanded(); c.QueuePairs != 1 || slices.Contains(c.Receives, "all") {
				t.Errorf("commanded by the next driver: %+v", c)
			}
		}
		mustIperf(t, ctx, b, "10.0.0.1")
	})
}
