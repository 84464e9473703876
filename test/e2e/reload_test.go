//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
)

// TestReload changes the configuration under two guests that talk. They must not lose a frame,
// whatever comes, goes and changes around them; a third must get none of theirs while their own
// ports are left alone.
func TestReload(t *testing.T) {
	const (
		a  = "[port.a]\nmac = \"52:54:00:00:00:01\"\n"
		b  = "[port.b]\nmac = \"52:54:00:00:00:02\"\n"
		o  = "[port.o]\n"
		ab = a + b + o

		ab20 = a + "max_macs = 20\n" + b + "max_macs = 20\n" + o
	)
	s := swtest.Start(t, nil, ab)
	guests := map[string]*station.Station{}
	for i, name := range []string{"a", "b", "o"} {
		g, err := station.Connect(s.Socket(name), station.Config{MAC: station.Addr(byte(i + 1)), Observer: name == "o"})
		if err != nil {
			t.Fatal(err)
		}
		s.WaitState(t, name, control.StateRunning)
		guests[name] = g
	}
	guests["a"].Talk(station.Addr(2), 16)
	guests["b"].Talk(station.Addr(1), 16)
	for _, g := range guests {
		g.Start()
	}
	goOn := func() {
		t.Helper()
		for _, name := range []string{"a", "b"} {
			if err := guests[name].Await(500); err != nil {
				t.Fatal(err)
			}
			if c := s.Port(t, name).Counters; c.Reconnects != 0 || len(c.Drops) != 0 {
				t.Errorf("port %s: %+v", name, c)
			}
		}
		if n := guests["o"].Received(); n != 0 {
			t.Errorf("%d frames went to somebody else", n)
		}
	}
	reload := func(config, want string) {
		t.Helper()
		from := len(s.Log())
		s.Configure(t, config)
		s.Signal(t, syscall.SIGHUP)
		s.WaitLog(t, from, want)
		goOn()
	}
	goOn()

	reload(ab, "nothing has changed")
	reload(ab+"[port.c]\n", `change="port c added"`)
	visit(t, s, "c", s.Socket("c"))
	reload(ab+"[port.c]\ntag = 7\n", `change="port c reconfigured"`)
	if tag := s.Port(t, "c").VLAN.Tag; tag != 7 {
		t.Errorf("c has the tag %d", tag)
	}
	reload(ab+"[port.c]\nqueues = 2\n", `change="port c will offer another number of queue pairs, 2,`)
	visit(t, s, "c", s.Socket("c"))
	reload(ab+"[port.c]\nsocket = \""+s.Socket("d")+"\"\n", `change="port c takes the next front-end from `)
	visit(t, s, "c", s.Socket("d"))
	reload(ab, `change="port c removed"`)
	if _, err := os.Lstat(s.Socket("d")); !os.IsNotExist(err) {
		t.Errorf("the socket of a port that is gone is left: %v", err)
	}
	// Their own ports change, in ways that keep the guests.
	for i := range 20 {
		from := len(s.Log())
		s.Configure(t, fmt.Sprintf("%smax_macs = %d\n%smax_macs = %d\n%s", a, i+1, b, i+1, o))
		s.Signal(t, syscall.SIGHUP)
		s.WaitLog(t, from, `change="port b reconfigured"`)
		goOn()
	}
	reload(ab20+"[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"b\"\n", `change="static entry 52:54:00:00:00:09 in VLAN 0 -> b"`)
	reload(ab20, "static entry 52:54:00:00:00:09 in VLAN 0 removed")

	// Files that cannot be followed change nothing, and say why.
	sameAs := fmt.Sprint(s.FDB(t))
	for _, bad := range []struct{ config, why string }{
		{ab20 + "[port.c]\n[port.e]\ntag = 9999\n", ".toml:16: port.e.tag: is 9999"},
		{a + o + "[port.e]\nmac = \"52:54:00:00:00:01\"\n", "port.e.mac: 52:54:00:00:00:01"},
		{ab20 + "[port.c]\n[uplink.lan]\ninterface = \"lo\"\n", "not an Ethernet interface"},
		{"workers = 2\n" + a + b + o + "[port.c]\n", "switch.workers"},
		{ab20 + "[port.c]\n[port.z]\nsocket = \"" + s.ConfigFile() + "\"\n", "not a socket"},
		{"not TOML at all", ".toml:"},
	} {
		reload(bad.config, "reload refused")
		if !strings.Contains(s.Log(), bad.why) {
			t.Errorf("no %q in the log", bad.why)
		}
		names := []string{}
		for _, p := range s.Info(t).Ports {
			names = append(names, p.Name)
		}
		if fmt.Sprint(names) != "[a b o]" || fmt.Sprint(s.FDB(t)) != sameAs {
			t.Errorf("%q has left: ports %v, FDB %v; it was %s", bad.why, names, s.FDB(t), sameAs)
		}
		if _, err := os.Lstat(s.Socket("c")); !os.IsNotExist(err) {
			t.Errorf("a socket is left: %v", err)
		}
	}
	reload(ab20+"[port.c]\n", `change="port c added"`)

	for _, name := range []string{"a", "b"} {
		if err := guests[name].Drain(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d and %d requests were answered", guests["a"].Answered(), guests["b"].Answered())
	for name, g := range guests {
		if err := g.Leave(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
