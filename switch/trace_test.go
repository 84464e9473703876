package vswitch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// traceLines returns a trace as lines.
func traceLines(t *vswitch.Trace) (list []string) {
	for _, s := range t.Steps {
		line := fmt.Sprint(s.Stage, " ", s.Port, ": ", s.Result)
		for _, word := range []string{s.Reason, s.Filter, s.Rule, s.Detail} {
			if word != "" {
				line += ", " + word
			}
		}
		for _, f := range s.Frames {
			line += fmt.Sprintf(" [%d bytes]", len(f.Bytes))
		}
		list = append(list, line)
	}
	return list
}

// A trace names each stage that looks at the frame, with its result, the rules of filters, what the
// ports are sent, and how the frame is changed for them.
func TestTracesNameEachStep(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	setFilters(t, l.s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterAccept, Rules: []vswitch.FilterRule{
		{Name: "all", Action: vswitch.FilterCount},
		{Name: "urgent", Action: vswitch.FilterDrop, PCPs: []vswitch.Range{{First: 7, Last: 7}}},
	}})
	l.add("a", func(c *vswitch.PortConfig) {
		c.Tag, c.IngressFilter, c.IngressPolicingPPS, c.StormControlPPS = 10, "f", 1000, 1000
		c.Guards.BPDU = true
	})
	l.add("b", func(c *vswitch.PortConfig) { c.Tag, c.MACs = 10, []vswitch.MAC{macB} })
	l.add("trunk", func(c *vswitch.PortConfig) { c.EgressFilter = "f" })
	l.add("short").SetCaps(vswitch.Caps{MTU: 50})
	l.add("probe")
	l.mirror(vswitch.MirrorConfig{Name: "m", SelectSrc: []string{"a"}, Output: "probe", Snaplen: 40})
	prio := func(n uint16) vswitchtest.Tag { return vswitchtest.Tag{TCI: n << 13} }
	long := strings.Repeat("x", 60)
	for _, tt := range []struct {
		what string
		port string
		raw  []byte
		want []string
	}{
		{"to a station", "a", ether(macB, macA, long), []string{
			"admit a: pass, the port is up",
			"classify a: pass, in VLAN 10",
			"filter a: count, f, all",
			"filter a: pass, f, default",
			"guard a: pass, the guards of the port allow the frame",
			"police a: pass, within the rate that the port may send",
			"mirror probe: copy, a copy for the output of a mirror [40 bytes]",
			"learn a: pass, the source address is learned",
			"lookup a: pass, the destination is behind b",
			"transmit b: send, unchanged [74 bytes]",
		}},
		{"dropped by a rule", "a", ether(macB, macA, long, prio(7)), []string{
			"admit a: pass, the port is up",
			"classify a: pass, in VLAN 10, of priority 7",
			"filter a: count, f, all",
			"filter a: drop, filter, f, urgent",
		}},
		{"flooded", "a", ether(broadcast, macA, long, prio(3)), []string{
			"admit a: pass, the port is up",
			"classify a: pass, in VLAN 10, of priority 3",
			"filter a: count, f, all",
			"filter a: pass, f, default",
			"guard a: pass, the guards of the port allow the frame",
			"police a: pass, within the rate that the port may send",
			"mirror probe: copy, a copy for the output of a mirror [40 bytes]",
			"learn a: pass, the source address is learned",
			"lookup a: pass, broadcast",
			"storm a: pass, within the limits of flooded frames",
			"transmit b: send, the tag 802.1Q VLAN 0 priority 3 is removed [74 bytes]",
			"filter trunk: count, f, all",
			"filter trunk: pass, f, default",
			"transmit trunk: send, the tag 802.1Q VLAN 0 priority 3 becomes 802.1Q VLAN 10 priority 3 [78 bytes]",
			"repair short: drop, too-big",
		}},
		{"to a port that filters", "trunk", ether(macB, macC, long, vswitchtest.Tag{TCI: 10}), []string{
			"admit trunk: pass, the port is up",
			"classify trunk: pass, in VLAN 10",
			"learn trunk: pass, the source address is learned",
			"lookup trunk: pass, the destination is behind b",
			"transmit b: send, the tag 802.1Q VLAN 10 priority 0 is removed [74 bytes]",
		}},
		{"in no VLAN of the port", "b", ether(macA, macB, long, vswitchtest.Tag{TCI: 11}), []string{
			"admit b: pass, the port is up",
			"classify b: drop, vlan",
		}},
		{"from the output of a mirror", "probe", ether(macA, macB, long), []string{"admit probe: drop, mirror-output"}},
		{"an address of another port", "trunk", ether(macC, macB, long, vswitchtest.Tag{TCI: 10}), []string{
			"admit trunk: pass, the port is up",
			"classify trunk: pass, in VLAN 10",
			"learn trunk: pass, the source address is static behind another port, and is not learned",
			"lookup trunk: pass, the destination is not known",
			"transmit a: send, the tag 802.1Q VLAN 10 priority 0 is removed [74 bytes]",
			"transmit b: send, the tag 802.1Q VLAN 10 priority 0 is removed [74 bytes]",
			"repair short: drop, too-big",
		}},
	} {
		trace, err := l.s.Trace(tt.port, vswitchtest.Frame(tt.raw))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, traceLines(trace)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
	if _, err := l.s.Trace("nobody", vswitchtest.Frame(ether(macA, macB, ""))); !errors.Is(err, vswitch.ErrNoPort) {
		t.Errorf("from a port that is not there: %v", err)
	}
}

// A trace in an FDB that is too large to be copied looks up destinations, and says what it leaves
// out.
func TestTraceInALargeFDB(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 1 << 18})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macB, ""))
	l.got()
	trace, err := l.s.Trace("a", vswitchtest.Frame(ether(macB, macA, "")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"admit a: pass, the port is up", "classify a: pass, in no VLAN", "learn a: pass, not examined, because the FDB is large",
		"lookup a: pass, the destination is behind b", "transmit b: send, unchanged [14 bytes]",
	}
	if d := cmp.Diff(want, traceLines(trace)); d != "" {
		t.Error(d)
	}
	l.wantWhere(macA, 0, "")
}
