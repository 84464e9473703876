package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// entries returns all FDB entries, as "mac/vlan port type".
func (l *lab) entries() string {
	var list []string
	for _, e := range l.d.Backend().FDB(control.FDBFilter{VLAN: -1}) {
		vlan := fmt.Sprint(e.VLAN)
		if e.All {
			vlan = "all"
		}
		list = append(list, strings.Join(strings.Fields(strings.TrimPrefix(e.MAC, "52:54:00:00:00:")+"/"+vlan+" "+e.Port+" "+e.Type), " "))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func addition(n byte, port, kind string, vlan int) control.FDBAddition {
	return control.FDBAddition{MAC: control.MAC{0x52, 0x54, 0, 0, 0, n}, Port: port, Type: kind, VLAN: vlan}
}

// Entries that are added through the control API are in the VLAN that is named, or else in that of
// the port's untagged frames, and a blackhole in all. They survive reloads that do not contradict.
func TestEntriesAddedByHand(t *testing.T) {
	const ports = "[port.a]\n[port.b]\ntag = 5\nmac = \"52:54:00:00:00:0b\"\n"
	l := newLab(t, ports)
	b := l.d.Backend()
	for _, a := range []control.FDBAddition{
		addition(1, "a", "static", -1), addition(2, "b", "sticky", -1), addition(3, "b", "dynamic", 7),
		addition(4, "", "blackhole", -1), addition(5, "", "blackhole", 5), addition(6, "a", "static", 0),
	} {
		e, err := b.AddFDB(a)
		if err != nil || e.Port != a.Port || e.Type != a.Type || e.All != (a.Port == "" && a.VLAN < 0) {
			t.Errorf("%+v: %+v, %v", a, e, err)
		}
	}
	const all = "01/0 a static, 02/5 b sticky, 03/7 b dynamic, 04/all blackhole, 05/5 blackhole, 06/0 a static"
	want := func(want string) {
		t.Helper()
		if got := l.entries(); got != want {
			t.Errorf("entries %s\nwant    %s", got, want)
		}
	}
	want(all + ", 0b/5 b static")
	const six = "[[fdb]]\nmac = \"52:54:00:00:00:06\"\nport = \"b\"\nvlan = 0\n"
	l.reload(ports+six, "static entry 52:54:00:00:00:06 in VLAN 0 -> b")
	l.reload(ports, "static entry 52:54:00:00:00:06 in VLAN 0 removed")
	// A port that carries other VLANs from now on loses what was learned in them.
	want("01/0 a static, 02/5 b sticky, 04/all blackhole, 05/5 blackhole, 0b/5 b static")

	for _, tt := range []struct {
		add control.FDBAddition
		err error
	}{
		{addition(1, "c", "static", -1), control.ErrNotFound},
		{addition(0xb, "a", "static", 5), vswitch.ErrAddressPinned},
		{addition(0xb, "", "blackhole", -1), vswitch.ErrAddressPinned},
		{addition(0xb, "a", "wrong", -1), vswitch.ErrBadEntry},
		{addition(1, "a", "blackhole", -1), vswitch.ErrBadEntry},
		{control.FDBAddition{MAC: control.MAC{1}, Port: "a", Type: "static"}, vswitch.ErrBadMAC},
	} {
		if _, err := b.AddFDB(tt.add); !errors.Is(err, tt.err) {
			t.Errorf("%+v: %v, want %v", tt.add, err, tt.err)
		}
	}
	mac := func(n byte) control.MAC { return control.MAC{0x52, 0x54, 0, 0, 0, n} }
	if err := errors.Join(b.DeleteFDB(mac(4), -1), b.DeleteFDB(mac(2), 5)); err != nil {
		t.Error(err)
	}
	if err := b.DeleteFDB(mac(1), 5); !errors.Is(err, control.ErrNoEntry) {
		t.Error(err)
	}
	if err := b.DeleteFDB(mac(0xb), -1); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Error(err)
	}
	want("01/0 a static, 05/5 blackhole, 0b/5 b static")
	if n, err := b.FlushFDB(control.FDBFilter{VLAN: 5}, []string{"static", "blackhole"}); n != 1 || err != nil {
		t.Errorf("flush: %d, %v", n, err)
	}
	if _, err := b.FlushFDB(control.FDBFilter{VLAN: -1, Port: "c"}, []string{"static"}); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("flush of no port: %v", err)
	}
	if _, err := b.FlushFDB(control.FDBFilter{VLAN: -1}, []string{"wrong"}); !errors.Is(err, vswitch.ErrBadEntry) {
		t.Errorf("flush of no type: %v", err)
	}
	if n, err := b.FlushFDB(control.FDBFilter{VLAN: -1, Port: "a"}, []string{"static"}); n != 1 || err != nil {
		t.Errorf("flush: %d, %v", n, err)
	}
	want("0b/5 b static")
}

// The file's entries of all kinds are applied, changed and removed by reloads, and so are the times
// of the FDB.
func TestReloadOfTheFDB(t *testing.T) {
	const port = "[port.a]\n[port.b]\n"
	entry := func(more string) string { return "[[fdb]]\nmac = \"52:54:00:00:00:01\"\n" + more }
	l := newLab(t, port+entry("port = \"a\"\n"))
	for _, step := range []struct{ cfg, line, entries string }{
		{port + entry("port = \"a\"\nsticky = true\n"), "static entry 52:54:00:00:00:01 in VLAN 0 -> a, sticky", "01/0 a sticky"},
		{port + entry("port = \"b\"\nsticky = true\n"), "static entry 52:54:00:00:00:01 in VLAN 0 -> b, sticky", "01/0 b sticky"},
		{port + entry("blackhole = true\nvlan = 0\n"), "static entry 52:54:00:00:00:01 in VLAN 0 -> blackhole", "01/0 blackhole"},
	} {
		l.reload(step.cfg, step.line)
		if got := l.entries(); got != step.entries {
			t.Errorf("%s: %s", step.line, got)
		}
	}
	l.reload(port+entry("blackhole = true\n"), "static entry 52:54:00:00:00:01 in VLAN 0 removed", "static entry 52:54:00:00:00:01 in every VLAN -> blackhole")
	if got := l.entries(); got != "01/all blackhole" {
		t.Errorf("in every VLAN: %s", got)
	}
	l.reload("mac_aging_time = \"7s\"\nmac_hold_down = \"5s\"\n"+port,
		"static entry 52:54:00:00:00:01 in every VLAN removed", "switch.mac_aging_time: 5m0s -> 7s", "switch.mac_hold_down: 0s -> 5s")
	if got := l.d.Backend().Switch().MACAgingS; got != 7 {
		t.Errorf("mac_aging_s: %d", got)
	}
}
