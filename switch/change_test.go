package vswitch_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// table returns all FDB entries as "address/VLAN port", with a "!" behind static entries.
func (l *lab) table() string {
	var lines []string
	for _, e := range l.s.FDB("", vswitch.AnyVLAN) {
		line := fmt.Sprintf("%02x/%d %s", e.MAC[5], e.VLAN, e.Port)
		if e.Kind == vswitch.FDBStatic {
			line += "!"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

// named returns the configuration of a port with pinned addresses.
func named(name string, macs ...vswitch.MAC) vswitch.PortConfig {
	cfg := vswitch.DefaultPortConfig(name)
	cfg.MACs = macs
	return cfg
}

// Ports may exchange names, addresses and static entries in one change.
func TestApplySwaps(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	m1, m2, m3 := vswitchtest.Station(1), vswitchtest.Station(2), vswitchtest.Station(3)
	l.add("a", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{m1} })
	l.add("b", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{m2} })
	l.add("c")
	if err := l.s.AddFDB(vswitch.StaticEntry{MAC: m3, Port: "c"}); err != nil {
		t.Fatal(err)
	}
	l.send("a", ether(broadcast, vswitchtest.Station(10), ""))
	l.send("b", ether(broadcast, vswitchtest.Station(11), ""))
	a, b, c := l.ports["a"], l.ports["b"], l.ports["c"]
	change := vswitch.Change{
		Detach: []*vswitch.Attachment{c.Attachment},
		Reconfigure: []vswitch.Reconfiguration{
			{Attachment: a.Attachment, Config: named("b", m2)},
			{Attachment: b.Attachment, Config: named("a", m3)},
		},
		Attach: []vswitch.NewPort{{Config: named("c", m1), Port: &vswitchtest.Recorder{}}},
		Static: []vswitch.StaticEntry{{MAC: vswitchtest.Station(4), Port: "a"}, {MAC: vswitchtest.Station(5), Port: "c"}},
	}
	attached, err := l.s.Apply(&change)
	if err != nil || len(attached) != 1 || attached[0].Name() != "c" {
		t.Fatalf("%v, %v", attached, err)
	}
	want := "01/0 c!, 02/0 b!, 03/0 a!, 04/0 a!, 05/0 c!, 0a/0 b, 0b/0 a"
	if got := l.table(); got != want {
		t.Errorf("table %s\nwant  %s", got, want)
	}
	if a.Name() != "b" || a.Attachment.Counters() != a.counters || a.counters.RxFrames.Load() != 1 {
		t.Errorf("the port that was renamed to b: %s, %d frames", a.Name(), a.counters.RxFrames.Load())
	}
	// Frames go to the port with the new name.
	l.got()
	l.ports["b"], l.ports["a"] = a, b
	l.send("a", ether(m2, m3, "x"))
	l.want("to the renamed port", got{"b": "x"})
}

// A change that is refused changes nothing, and the error has every reason.
func TestApplyRefusesAsAWhole(t *testing.T) {
	m1, m2 := vswitchtest.Station(1), vswitchtest.Station(2)
	rec := &vswitchtest.Recorder{}
	good := vswitch.NewPort{Config: named("new", vswitchtest.Station(9)), Port: rec}
	for _, tt := range []struct {
		name   string
		change func(l *lab, c *vswitch.Change)
		want   []error
	}{
		{"a name that is there", func(l *lab, c *vswitch.Change) {
			c.Attach = append(c.Attach, vswitch.NewPort{Config: named("b"), Port: rec})
		}, []error{vswitch.ErrPortExists}},
		{"a name that goes, twice", func(l *lab, c *vswitch.Change) {
			c.Detach = []*vswitch.Attachment{l.ports["b"].Attachment}
			c.Attach = append(c.Attach, vswitch.NewPort{Config: named("b"), Port: rec}, vswitch.NewPort{Config: named("b"), Port: rec})
		}, []error{vswitch.ErrPortExists}},
		{"an address that is pinned", func(l *lab, c *vswitch.Change) {
			c.Attach = append(c.Attach, vswitch.NewPort{Config: named("d", m1), Port: rec})
		}, []error{vswitch.ErrAddressPinned}},
		{"an address that is pinned twice", func(l *lab, c *vswitch.Change) {
			c.Reconfigure = []vswitch.Reconfiguration{
				{Attachment: l.ports["b"].Attachment, Config: named("b", m2)},
				{Attachment: l.ports["c"].Attachment, Config: named("c", m2)},
			}
		}, []error{vswitch.ErrAddressPinned}},
		{"a static entry of a pinned address", func(l *lab, c *vswitch.Change) {
			c.Static = []vswitch.StaticEntry{{MAC: m1, Port: "b"}}
		}, []error{vswitch.ErrAddressPinned}},
		{"a static entry of no port", func(l *lab, c *vswitch.Change) {
			c.Static = []vswitch.StaticEntry{{MAC: m2, Port: "z"}}
		}, []error{vswitch.ErrNoPort}},
		{"a port that is gone", func(l *lab, c *vswitch.Change) {
			c.Detach = []*vswitch.Attachment{l.ports["b"].Attachment}
			c.Reconfigure = []vswitch.Reconfiguration{{Attachment: l.ports["b"].Attachment, Config: named("b")}}
		}, []error{vswitch.ErrDetached}},
		{"more than the table holds", func(l *lab, c *vswitch.Change) {
			for i := range 10 {
				c.Static = append(c.Static, vswitch.StaticEntry{MAC: vswitchtest.Station(20 + i), Port: "b"})
			}
		}, []error{vswitch.ErrTableFull}},
		{"many things", func(l *lab, c *vswitch.Change) {
			bad := named("d")
			bad.Tag = 4095
			c.Attach = append(c.Attach, vswitch.NewPort{Config: bad, Port: rec}, vswitch.NewPort{Config: named("e", broadcast), Port: rec})
			c.Static = []vswitch.StaticEntry{{MAC: broadcast, Port: "b"}, {MAC: m2, VLAN: 4096, Port: "b"}}
		}, []error{vswitch.ErrBadVLAN, vswitch.ErrBadMAC, vswitch.ErrBadMAC, vswitch.ErrBadVLAN}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{TableSize: 10})
			l.add("a", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{m1} })
			l.addAll("b", "c")
			if err := l.s.AddFDB(vswitch.StaticEntry{MAC: vswitchtest.Station(3), Port: "c"}); err != nil {
				t.Fatal(err)
			}
			l.send("b", ether(broadcast, vswitchtest.Station(10), ""))
			l.got()
			before, ports := l.table(), l.s.Ports()

			change := vswitch.Change{Attach: []vswitch.NewPort{good}}
			tt.change(l, &change)
			_, err := l.s.Apply(&change)

			var reasons []error
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				reasons = joined.Unwrap()
			}
			if !slices.EqualFunc(reasons, tt.want, errors.Is) {
				t.Errorf("refused for %v, want %v", reasons, tt.want)
			}
			if got := l.table(); got != before {
				t.Errorf("table %s\nit was %s", got, before)
			}
			if got := l.s.Ports(); fmt.Sprint(got) != fmt.Sprint(ports) {
				t.Errorf("ports %v\nthey were %v", got, ports)
			}
			l.send("b", ether(vswitchtest.Station(3), vswitchtest.Station(10), "x"))
			l.want("as before", got{"c": "x"})
			if _, err := l.s.Apply(&vswitch.Change{Attach: []vswitch.NewPort{good}, KeepStatic: true}); err != nil {
				t.Errorf("the part that is not refused: %v", err)
			}
		})
	}
}

// All entries of a full table may be replaced in one change.
func TestApplyToAFullTable(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 10})
	l.addAll("a", "b")
	entries := func(first int, port string) (list []vswitch.StaticEntry) {
		for i := range 10 {
			list = append(list, vswitch.StaticEntry{MAC: vswitchtest.Station(first + i), Port: port})
		}
		return list
	}
	for _, list := range [][]vswitch.StaticEntry{entries(0, "a"), entries(5, "a"), entries(20, "b"), nil, entries(0, "b")} {
		if _, err := l.s.Apply(&vswitch.Change{Static: list}); err != nil {
			t.Fatal(err)
		}
		if got := l.s.Stats().Static; got != len(list) {
			t.Errorf("%d static entries, want %d", got, len(list))
		}
	}
}

// While addresses move from port to port, frames to them are not flooded to other ports.
func TestApplyMissesNothing(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "other", "sender")
	move := func(port string) {
		var all []vswitch.StaticEntry
		for i := range 500 {
			all = append(all, vswitch.StaticEntry{MAC: vswitchtest.Station(i), Port: port})
		}
		if _, err := l.s.Apply(&vswitch.Change{Static: all}); err != nil {
			t.Error(err)
		}
	}
	move("a")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			move([]string{"a", "b"}[i%2])
		}
	}()
	frames := make([]vswitch.Frame, 50)
	for i := range frames {
		frames[i] = vswitchtest.Frame(ether(vswitchtest.Station(10*i), vswitchtest.Station(1000), "x"))
	}
	for sending := true; sending; {
		select {
		case <-done:
			sending = false
		default:
			l.ports["sender"].in.Deliver(frames)
			l.ports["a"].Take()
			l.ports["b"].Take()
		}
	}
	if n := l.ports["other"].counters.TxFrames.Load(); n > 0 {
		t.Errorf("%d frames went to another port", n)
	}
}
