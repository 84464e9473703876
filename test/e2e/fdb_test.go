//go:build e2e

package e2e

import (
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// entry returns the port and the type of an address in the FDB.
func (f *fourGuests) entry(t *testing.T, g *vm.VM) (port, kind string) {
	t.Helper()
	for _, e := range f.s.FDB(t) {
		if e.MAC == g.Config.MAC && e.VLAN == 0 {
			return e.Port, e.Type
		}
	}
	return "", ""
}

// changeFDB has entries that an operator adds and removes decide where the frames of guests go.
func (f *fourGuests) changeFDB(t *testing.T) {
	ctx := testContext(t)
	f.configure(t, "", nil, "")
	permanent(t, f.a, f.b)
	permanent(t, f.b, f.a)
	b := f.b.Config.MAC
	mustPing(t, ctx, f.a, "10.0.0.2")

	t.Run("sticky", func(t *testing.T) {
		f.s.Ctl(t, "fdb", "add", b, "b", "--sticky")
		before := f.s.Port(t, "d").Counters.FDBEvents["static_claims"]
		own := f.d.Config.MAC
		readdress(t, f.d, b) // its MLD reports and the like claim the address
		f.d.MustRun(t, "arping -U -c 3 -I eth0 -s 10.0.0.4 10.0.0.4 || true")
		mustPing(t, ctx, f.a, "10.0.0.2")
		if port, kind := f.entry(t, f.b); port != "b" || kind != "sticky" {
			t.Errorf("the sticky entry is now %s behind port %s", kind, port)
		}
		if f.s.Port(t, "d").Counters.FDBEvents["static_claims"] == before {
			t.Error("frames that claim another guest's address are not counted")
		}
		readdress(t, f.d, own)
		f.s.Ctl(t, "fdb", "del", b)
		mustPing(t, ctx, f.b, "10.0.0.1")
		if port, kind := f.entry(t, f.b); port != "b" || kind != "dynamic" {
			t.Errorf("guest b's address is %s behind port %s, after the sticky entry was removed", kind, port)
		}
	})
	t.Run("blackhole", func(t *testing.T) {
		f.s.Ctl(t, "fdb", "add", b, "--blackhole", "--vlan", "0")
		noPing(t, f.a, "10.0.0.2")
		if n := f.s.Port(t, "a").Counters.Drops["blackhole"]; n < 2 {
			t.Errorf("%d frames were dropped as blackhole", n)
		}
		f.s.Ctl(t, "fdb", "del", b)
		mustPing(t, ctx, f.a, "10.0.0.2")
	})
	t.Run("static", func(t *testing.T) {
		f.s.Ctl(t, "fdb", "add", b, "c")
		atC := startWatch(t, f.c, "icmp and ether dst "+b)
		noPing(t, f.a, "10.0.0.2")
		if n := atC.stop(t, 2); n != 2 {
			t.Errorf("guest c was sent %d frames for guest b, want 2", n)
		}
		f.s.Ctl(t, "fdb", "del", b)
		mustPing(t, ctx, f.a, "10.0.0.2")
	})
	t.Run("flush", func(t *testing.T) {
		mustPing(t, ctx, f.a, "10.0.0.2")
		atC := startWatch(t, f.c, "icmp and ether dst "+b)
		mustPing(t, ctx, f.a, "10.0.0.2")
		if n := atC.seen(t); n != 0 {
			t.Errorf("guest c was sent %d frames for guest b, whose address is known", n)
		}
		// Guest b may send something in between, after which the switch knows it again.
		swtest.Until(t, "a frame is flooded after a flush", func() bool {
			f.s.Ctl(t, "fdb", "flush", "--port", "b")
			mustPing(t, ctx, f.a, "10.0.0.2", "-c", "10")
			return atC.seen(t) > 0
		})
		atC.stop(t, 1)
		if port, kind := f.entry(t, f.b); port != "b" || kind != "dynamic" {
			t.Errorf("guest b's address is %s behind port %s", kind, port)
		}
	})
}
