package daemon

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// members returns all static members, as "group/vlan port source".
func (l *lab) members() string {
	var list []string
	for _, e := range l.d.Backend().MDB(-1).Entries {
		list = append(list, strings.TrimSpace(e.Group+"/"+string('0'+rune(e.VLAN))+" "+e.Port+" "+e.Source))
		if e.Type != "static" {
			l.Errorf("%+v is %s", e, e.Type)
		}
	}
	return strings.Join(list, ", ")
}

// Static members come from the configuration and from the control API. Those from the API are in
// the VLAN of the port's untagged frames unless they name another, and survive reloads.
func TestStaticMembers(t *testing.T) {
	const ports = "mcast_snooping = true\n[port.a]\n[port.b]\ntag = 5\n"
	const one = "[[mdb]]\ngroup = \"239.1.1.1\"\nport = \"b\"\n"
	l := newLab(t, ports+one)
	b := l.d.Backend()
	want := func(want string) {
		t.Helper()
		if got := l.members(); got != want {
			t.Errorf("members %q, want %q", got, want)
		}
	}
	want("239.1.1.1/5 b")
	member := func(group, source, port string, vlan int) control.Member {
		m := control.Member{Group: netip.MustParseAddr(group), Port: port, VLAN: vlan}
		if source != "" {
			m.Source = netip.MustParseAddr(source)
		}
		return m
	}
	for _, m := range []control.Member{
		member("239.1.1.2", "10.0.0.1", "b", -1), member("239.1.1.3", "", "b", 0), member("ff05::1", "", "a", -1),
	} {
		if e, err := b.AddMember(m); err != nil || e.Type != "static" || e.Port != m.Port {
			t.Errorf("%+v: %+v, %v", m, e, err)
		}
	}
	want("239.1.1.3/0 b, ff05::1/0 a, 239.1.1.1/5 b, 239.1.1.2/5 b 10.0.0.1")
	if _, err := b.AddMember(member("239.1.1.1", "", "b", -1)); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("twice: %v", err)
	}
	if _, err := b.AddMember(member("239.1.1.1", "", "c", -1)); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("no such port: %v", err)
	}
	if _, err := b.DeleteMember(member("239.1.1.1", "", "a", -1)); !errors.Is(err, control.ErrNoMember) {
		t.Errorf("no such member: %v", err)
	}
	if _, err := b.AddMember(member("224.0.0.5", "", "a", -1)); !errors.Is(err, vswitch.ErrBadGroup) {
		t.Errorf("a link-local group: %v", err)
	}
	if _, err := b.AddMember(member("239.1.1.4", "2001:db8::1", "a", -1)); !errors.Is(err, vswitch.ErrBadSource) {
		t.Errorf("a source of the other IP version: %v", err)
	}
	// What is refused changes nothing.
	want("239.1.1.3/0 b, ff05::1/0 a, 239.1.1.1/5 b, 239.1.1.2/5 b 10.0.0.1")
	l.reload(ports+"[[mdb]]\ngroup = \"239.1.1.9\"\nsource = \"10.0.0.2\"\nport = \"a\"\n",
		"static member 239.1.1.1 in VLAN 5 at b removed", "static member 239.1.1.9 from 10.0.0.2 in VLAN 0 at a added")
	if _, err := b.DeleteMember(member("239.1.1.3", "", "b", 0)); err != nil {
		t.Error(err)
	}
	want("239.1.1.9/0 a 10.0.0.2, ff05::1/0 a, 239.1.1.2/5 b 10.0.0.1")
	l.reload("[port.a]\n", "port b removed", "multicast snooping reconfigured", "static member 239.1.1.9 from 10.0.0.2 in VLAN 0 at a removed")
	want("")
	l.reload("mcast_snooping = true\n[port.a]\n", "multicast snooping reconfigured")
	want("ff05::1/0 a")
}
