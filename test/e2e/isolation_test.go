//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"vswitchd/test/vm"
)

// privateVLANs: guests of a community reach each other and the uplink, isolated guests only the
// uplink, and no guest is sent anything of others than these.
func (f *fourGuests) privateVLANs(t *testing.T) {
	ctx := testContext(t)
	f.configure(t, "", portKeys{"a": "community = \"red\"", "b": "community = \"red\"", "c": "isolated = true", "d": "isolated = true"}, "")
	foreign := func(g *vm.VM, of ...*vm.VM) *watch {
		var macs []string
		for _, o := range of {
			macs = append(macs, o.Config.MAC)
		}
		return startWatch(t, g, "ether src "+strings.Join(macs, " or "))
	}
	atA, atC, atD := foreign(f.a, f.c, f.d), foreign(f.c, f.a, f.b, f.d), foreign(f.d, f.a, f.b, f.c)

	forget(t, f.all()...)
	mustPing(t, ctx, f.a, "10.0.0.2")
	mustPing(t, ctx, f.b, "fd00::1")
	for _, g := range f.all() {
		mustPing(t, ctx, g, "10.0.0.9")
		nsPing(t, f.there, ipv4(g))
	}
	for _, pair := range [][2]*vm.VM{{f.a, f.c}, {f.c, f.b}, {f.c, f.d}} {
		from, to := pair[0], pair[1]
		noPing(t, from, ipv4(to)) // does not find out the address
		permanent(t, from, to)
		before := f.s.Port(t, from.Config.Name).Counters.Drops["policy"]
		noPing(t, from, ipv4(to))
		if n := f.s.Port(t, from.Config.Name).Counters.Drops["policy"] - before; n < 2 {
			t.Errorf("%d frames from guest %s to guest %s were dropped as policy", n, from.Config.Name, to.Config.Name)
		}
	}
	if a, c, d := atA.stop(t, 0), atC.stop(t, 0), atD.stop(t, 0); a+c+d != 0 {
		t.Errorf("guests a, c, d were sent %d, %d, %d frames of guests that they do not reach", a, c, d)
	}
}
