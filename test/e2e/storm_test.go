//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"testing"
)

// storm has guest d send far more frames than it may, broadcast and then to one station. They are
// dropped beyond the rate, and all other traffic goes on: between other guests, and with storm
// control that of guest d to a known station.
func (f *fourGuests) storm(t *testing.T) {
	const frames = 4000
	for _, c := range []struct{ name, keys, to, reason string }{
		{"storm control", "storm_control_bcast_pps = 10", "ff:ff:ff:ff:ff:ff", "storm-control"},
		{"policing", "ingress_policing_pps = 10", f.b.Config.MAC, "rate-limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := testContext(t)
			f.configure(t, "", portKeys{"d": c.keys}, "")
			permanent(t, f.d, f.a)
			permanent(t, f.a, f.d)
			mustPing(t, ctx, f.a, "10.0.0.2")
			before := f.s.Port(t, "d").Counters.Drops[c.reason]
			atB := startWatch(t, f.b, "ether proto 0x88b5 and ether src "+f.d.Config.MAC)
			frame := frameOf(t, 0x88b5, f.d.Config.MAC, c.to)
			flood := startJob(t, f.d, fmt.Sprintf("sh -c 'echo begins >&2; exec inject -count %d eth0 %s'", frames, hex.EncodeToString(frame)), "begins")
			mustPing(t, ctx, f.a, "10.0.0.2", "-c", "50")
			mustPing(t, ctx, f.b, "fd00::3", "-c", "50")
			if c.reason == "storm-control" {
				mustPing(t, ctx, f.d, "10.0.0.1", "-c", "50")
			}
			flood.wait(t)
			dropped := f.s.Port(t, "d").Counters.Drops[c.reason] - before
			passed := uint64(atB.stop(t, 0))
			if passed == 0 || passed > frames/2 || passed+dropped < frames {
				t.Errorf("of %d frames %d passed, and %d were dropped", frames, passed, dropped)
			}
		})
	}
}
