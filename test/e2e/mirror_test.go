//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// mirrorToGuest copies the frames of guest a to guest d, which captures each of them once.
func (f *fourGuests) mirrorToGuest(t *testing.T) {
	ctx := testContext(t)
	const pings, length = 10, 14 + 20 + 8 + 500
	permanent(t, f.a, f.b)
	permanent(t, f.b, f.a)
	for _, snaplen := range []int{0, 64} {
		f.configure(t, "", nil, fmt.Sprintf("[mirror.m]\nselect_src = [\"a\"]\nselect_dst = [\"a\"]\noutput = \"d\"\nsnaplen = %d\n", snaplen))
		copies := capture(t, f.d, "eth0", "icmp and not ether src "+f.d.Config.MAC, 2*pings)
		atC := startWatch(t, f.c, "icmp")
		mustPing(t, ctx, f.a, "10.0.0.2", "-c", fmt.Sprint(pings), "-s", "500")
		want := length
		if snaplen != 0 {
			want = snaplen
		}
		seen := make(map[string]int)
		for _, p := range copies(t) {
			icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if icmp == nil || len(p.Data()) != want {
				t.Fatalf("a copy of %d bytes: %v", len(p.Data()), p)
			}
			seen[fmt.Sprint(icmp.TypeCode, icmp.Seq)]++
		}
		if len(seen) != 2*pings {
			t.Errorf("the copies are %v", seen)
		}
		if n := atC.stop(t, 0); n != 0 {
			t.Errorf("guest c was sent %d frames that are not for it", n)
		}
		if m := f.s.Mirror(t, "m"); m.Frames < 2*pings || m.Drops != 0 {
			t.Errorf("the mirror has counted %+v", m)
		}
		noPing(t, f.d, "10.0.0.1")
		if f.s.Port(t, "d").Counters.Drops["mirror-output"] == 0 {
			t.Error("frames of the output are not counted as dropped")
		}
	}
}

// mirrorToVLAN copies the frames of guest a to VLAN 200, which the uplink alone carries.
func (f *fourGuests) mirrorToVLAN(t *testing.T) {
	ctx := testContext(t)
	const pings = 10
	const access = "tag = 10"
	f.configure(t, "", portKeys{"a": access, "b": access, "c": access, "d": access, "lan": "trunks = [10, 200]"},
		"[mirror.m]\nselect_src = [\"a\"]\noutput_vlan = 200\n")
	permanent(t, f.a, f.b)
	permanent(t, f.b, f.a)
	mustPing(t, ctx, f.b, "10.0.0.1") // so that the switch knows guest b
	copies := captureNetns(t, f.there, "far0", "vlan and icmp", pings)
	mustPing(t, ctx, f.a, "10.0.0.2", "-c", fmt.Sprint(pings))
	for i, p := range copies(t) {
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		got := tags(p)
		if icmp == nil || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest || int(icmp.Seq) != i+1 || len(got) != 1 || got[0] != "0x8100 VLAN 200 priority 0" {
			t.Errorf("copy %d has the tags %q: %v", i, got, p)
		}
	}
}
