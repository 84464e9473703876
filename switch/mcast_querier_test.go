package vswitch_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// own is the address of switches in these tests. Their link-local address is fe80::fc:1.
var own = vswitch.MAC{0xfe, 0, 0, 0, 0, 1}

const ownLinkLocal = "fe80::fc00:ff:fe00:1"

// newQuerierLab makes a switch that is a querier, with ports.
func newQuerierLab(t testing.TB, q vswitch.QuerierConfig, names ...string) *lab {
	q.On = true
	l := newLab(t, vswitch.Config{Address: own, Mcast: vswitch.McastConfig{Snooping: true, Querier: q}})
	l.addAll(names...)
	return l
}

// want compares the queries that a port was sent since the last call.
func (l *lab) wantQueries(when, port string, want ...string) {
	l.t.Helper()
	if got := l.queriesTo(port); got != strings.Join(want, ", ") {
		l.t.Errorf("%s: %s was sent %q, want %q", when, port, got, strings.Join(want, ", "))
	}
}

// net describes what is known of queriers in a VLAN.
func (l *lab) net(vlan int, v6 bool) string {
	_, nets := l.s.MDB(vlan)
	for _, n := range nets {
		if n.IPv6 == v6 {
			return fmt.Sprintf("%v own=%v snooping=%v", n.Querier, n.Own, n.Snooping)
		}
	}
	return "none"
}

const (
	general4 = "IGMPv3 0.0.0.0[] for 10s 0.0.0.0 > 224.0.0.1"
	general6 = "MLDv2 ::[] for 10000 ms " + ownLinkLocal + " > ff02::1"
)

// The first queries are sent at once and a quarter of the query interval later; then one is sent
// every 125 s. After the first one, hosts have ten seconds to answer.
func TestQueriesAreSentOnTime(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a", "b")
	l.advance(time.Second)
	var at []int
	for s := range 500 {
		if got := l.queriesTo("a"); got == general4+", "+general6 {
			at = append(at, s)
		} else if got != "" {
			t.Fatalf("after %d s: %q", s, got)
		}
		if s == 9 || s == 10 {
			if got, want := l.net(0, false), fmt.Sprintf("0.0.0.0 own=true snooping=%v", s == 10); got != want {
				t.Errorf("after %d s: %s, want %s", s, got, want)
			}
		}
		l.advance(time.Second)
	}
	if got, want := fmt.Sprint(at), "[0 31 156 281 406]"; got != want {
		t.Errorf("queries after %s s, want %s", got, want)
	}
	if n := l.ports["b"].counters.Mcast()[vswitch.McastQueriesSent]; n != 10 {
		t.Errorf("%d queries are counted at b, want 10", n)
	}
}

// Queries have the addresses and the versions that are configured.
func TestQueriesAreAsConfigured(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{
		IGMP: 2, MLD: 1, IPv4: netip.MustParseAddr("10.0.0.2"), IPv6: netip.MustParseAddr("fe80::2"),
	}, "a")
	l.advance(time.Second)
	l.wantQueries("old versions", "a", "IGMPv2 0.0.0.0 for 10s 10.0.0.2 > 224.0.0.1", "MLDv1 :: for 10s fe80::2 > ff02::1")
}

// Queries are sent in the VLANs of ports' untagged frames or in those that are configured, with the
// tags that each port wants, and not to ports that are down or the output of a mirror.
func TestQueriesInVLANs(t *testing.T) {
	ports := func(l *lab) {
		l.add("access", func(c *vswitch.PortConfig) { c.Tag = 7 })
		l.add("native", func(c *vswitch.PortConfig) {
			c.Tag, c.VLANMode, c.Trunks = 5, vswitch.VLANNativeUntagged, []uint16{7, 9}
		})
		l.add("down", func(c *vswitch.PortConfig) { c.Tag = 7 }).SetUp(false)
		l.add("out", func(c *vswitch.PortConfig) { c.Tag = 7 })
		l.add("silent", func(c *vswitch.PortConfig) { c.Tag, c.McastFlood, c.Isolated = 7, false, true })
		_, err := l.s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: []vswitch.MirrorConfig{{Name: "m", SelectSrc: []string{"down"}, Output: "out"}}})
		if err != nil {
			l.t.Fatal(err)
		}
		l.advance(time.Second)
	}
	l := newQuerierLab(t, vswitch.QuerierConfig{})
	ports(l)
	l.wantQueries("untagged VLANs", "access", general4, general6)
	l.wantQueries("untagged VLANs", "native", general4, general6, general4+" vlan 7", general6+" vlan 7")
	l.wantQueries("untagged VLANs", "silent", general4, general6)
	l.wantQueries("untagged VLANs", "down")
	l.wantQueries("untagged VLANs", "out")

	l = newQuerierLab(t, vswitch.QuerierConfig{VLANs: []uint16{9, 5}})
	ports(l)
	l.wantQueries("listed VLANs", "access")
	l.wantQueries("listed VLANs", "native", general4, general6, general4+" vlan 9", general6+" vlan 9")
}

// A querier with a lower address silences the switch, for 255 s after the last query. One with a
// higher address does not, and 0.0.0.0 is higher than all others.
func TestElectionOfTheQuerier(t *testing.T) {
	for _, tt := range []struct {
		name, own, other string
		station          vswitch.MAC
		wins             bool
	}{
		{"any address against none", "", "10.0.0.9", macA, true},
		{"none against an address", "10.0.0.2", "0.0.0.0", macA, false},
		{"lower", "10.0.0.2", "10.0.0.1", macA, true},
		{"higher", "10.0.0.2", "10.0.0.3", macA, false},
		{"none against none, lower station", "", "0.0.0.0", macA, true},
		{"none against none, higher station", "", "0.0.0.0", vswitch.MAC{0xfe, 1}, false},
		{"its own query comes back", "10.0.0.2", "10.0.0.2", own, false},
		{"lower, IPv6", "fe80::2", "fe80::1", macA, true},
		{"higher, IPv6", "fe80::2", "fe80::3", macA, false},
		{"an ordinary address against that of the switch, IPv6", "", "fe80::5054:ff:fe00:1", macA, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other, q, address := netip.MustParseAddr(tt.other), vswitch.QuerierConfig{}, tt.own
			v6 := other.Is6()
			none, mine := noIPv4, "0.0.0.0"
			if v6 {
				none, mine = noIPv6, ownLinkLocal
			}
			if address != "" {
				mine = address
				if a := netip.MustParseAddr(address); v6 {
					q.IPv6 = a
				} else {
					q.IPv4 = a
				}
			}
			l := newQuerierLab(t, q, "a", "router")
			l.advance(20 * time.Second)
			l.taken()
			hear := func() {
				l.send("router", queryFor(tt.station, other, none, 1))
				l.taken()
			}
			hear()
			querier := mine
			if tt.wins {
				querier = tt.other
			}
			if got, want := l.net(0, v6), fmt.Sprintf("%s own=%v snooping=true", querier, !tt.wins); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			l.advance(200 * time.Second) // queries would be due twice
			if silent := !strings.Contains(l.queriesTo("a"), mine+" > "); silent != tt.wins {
				t.Errorf("the switch is silent: %v", silent)
			}
			hear()
			l.advance(254 * time.Second)
			if silent := !strings.Contains(l.queriesTo("a"), mine+" > "); silent != tt.wins {
				t.Errorf("254 s after the last query, the switch is silent: %v", silent)
			}
			// The other one is gone. Snooping goes on without interruption.
			l.advance(time.Second)
			if sent := strings.Contains(l.queriesTo("a"), mine+" > "); tt.wins && !sent {
				t.Errorf("255 s after the last query, the switch is still silent")
			}
			if got, want := l.net(0, v6), mine+" own=true snooping=true"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			l.s.Check(t)
		})
	}
}

// A guest cannot silence the switch through a port that never is a router port.
func TestUntrustedPortCannotSilenceTheQuerier(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a")
	l.add("guest", func(c *vswitch.PortConfig) { c.McastRouter = vswitch.McastRouterNever })
	l.advance(40 * time.Second)
	l.send("guest", queryFor(macC, netip.MustParseAddr("10.0.0.1"), noIPv4, 1))
	l.taken()
	l.advance(125 * time.Second)
	l.wantQueries("after a guest's query", "a", general4, general6)
}

// When a host leaves a group, the querier asks behind its port alone, twice, whether anybody is
// still there. Who answers stays.
func TestQuerierAsksAfterALeave(t *testing.T) {
	for _, tt := range []struct {
		v6  bool
		ask string
	}{
		{false, "IGMPv3 239.1.0.1[] for 1s 0.0.0.0 > 239.1.0.1"},
		{true, "MLDv2 ff05::1[] for 1000 ms " + ownLinkLocal + " > ff05::1"},
	} {
		l := newQuerierLab(t, vswitch.QuerierConfig{}, "a", "b")
		g := nthGroup(tt.v6, 1)
		l.advance(40 * time.Second)
		join := func() { l.send("a", oldReport(macA, g, 1)) }
		leave := func() { l.send("a", leaveOf(macA, g, 2)) }
		join()
		l.send("b", oldReport(macB, g, 1))
		leave()
		leave()
		l.taken()
		l.s.SendQueries()
		l.wantQueries("at once", "a", tt.ask)
		l.advance(time.Second)
		l.wantQueries("a second later", "a", tt.ask)
		join()
		l.advance(10 * time.Second)
		l.wantQueries("after an answer", "a")
		if n := l.s.MDBEntries(); n != 2 {
			t.Errorf("after an answer: %d memberships", n)
		}
		leave()
		l.s.SendQueries()
		l.advance(2 * time.Second)
		if n := l.s.MDBEntries(); n != 2 {
			t.Errorf("while there is time to answer: %d memberships", n)
		}
		l.advance(time.Second)
		l.wantQueries("without an answer", "a", tt.ask, tt.ask)
		l.wantQueries("not asked", "b")
		if n := l.s.MDBEntries(); n != 1 {
			t.Errorf("without an answer: %d memberships", n)
		}
	}
}

// A switch that is not the elected querier leaves the asking to the querier.
func TestSilencedQuerierDoesNotAsk(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a", "router")
	l.advance(40 * time.Second)
	g := nthGroup(false, 1)
	l.send("router", queryFor(macC, netip.MustParseAddr("10.0.0.1"), noIPv4, 1))
	l.send("a", oldReport(macA, g, 1), leaveOf(macA, g, 2))
	l.taken()
	l.advance(5 * time.Second)
	l.wantQueries("silenced", "a")
	if n := l.s.MDBEntries(); n != 1 {
		t.Errorf("%d memberships", n)
	}
}

// A port that comes up is queried at once: the stations behind it may have joined long ago.
func TestPortThatComesUpIsQueried(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a", "b")
	l.advance(40 * time.Second)
	l.taken()
	l.ports["a"].SetUp(false)
	l.ports["a"].SetUp(true)
	l.s.SendQueries()
	l.wantQueries("up again", "a", general4, general6)
	l.wantQueries("up all the time", "b")
}

// A change of the querier's settings takes effect at once. What does not concern the querier does
// not make it begin again.
func TestQuerierIsReconfigured(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a")
	l.advance(40 * time.Second)
	l.taken()
	apply := func(c vswitch.McastConfig) error {
		_, err := l.s.Apply(&vswitch.Change{KeepStatic: true, Mcast: &c})
		l.s.SendQueries()
		return err
	}
	on := vswitch.QuerierConfig{On: true}
	must(0, apply(vswitch.McastConfig{Snooping: true, Unregistered: vswitch.McastFlooded, Querier: on}))
	l.wantQueries("another setting", "a")
	on.IGMP = 2
	must(0, apply(vswitch.McastConfig{Snooping: true, Querier: on}))
	l.wantQueries("another version", "a", "IGMPv2 0.0.0.0 for 10s 0.0.0.0 > 224.0.0.1", general6)
	for name, c := range map[string]vswitch.McastConfig{
		"no querier": {Snooping: true}, "no snooping": {Querier: on},
	} {
		must(0, apply(c))
		l.advance(200 * time.Second)
		l.wantQueries(name, "a")
	}
	if got := l.net(0, false); got != "none" {
		t.Errorf("no snooping: %s", got)
	}
	for name, q := range map[string]vswitch.QuerierConfig{
		"IPv6 address":    {IPv6: netip.MustParseAddr("2001:db8::1")},
		"group":           {IPv4: netip.MustParseAddr("224.0.0.1")},
		"VLAN 4095":       {VLANs: []uint16{4095}},
		"IGMPv1":          {IGMP: 1},
		"MLDv3":           {MLD: 3},
		"mapped address":  {IPv6: netip.MustParseAddr("::ffff:10.0.0.1")},
		"broadcast":       {IPv4: netip.MustParseAddr("255.255.255.255")},
		"address, zone":   {IPv6: netip.MustParseAddr("fe80::1%eth0")},
		"negative number": {IGMP: -1},
	} {
		if err := apply(vswitch.McastConfig{Snooping: true, Querier: q}); err == nil || !strings.Contains(err.Error(), "bad querier") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The janitor sends queries on time, and those after a leave without delay.
func TestJanitorSendsQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vswitch.New(vswitch.Config{Address: own, Mcast: vswitch.McastConfig{Snooping: true, Querier: vswitch.QuerierConfig{On: true}}})
		defer s.Close()
		var r vswitchtest.Recorder
		a, err := s.Attach(vswitch.DefaultPortConfig("a"), &r)
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		l := &lab{t: t, s: s, ports: map[string]*labPort{"a": {Recorder: &r, Attachment: a, in: a.NewInlet()}}}
		synctest.Wait()
		if got := l.queriesTo("a"); !strings.HasPrefix(got, general4+", "+general6) {
			t.Errorf("at once: %s", got)
		}
		time.Sleep(30 * time.Second)
		l.wantQueries("for 30 s", "a")
		time.Sleep(2 * time.Second)
		l.wantQueries("after that", "a", general4, general6)
		g := nthGroup(false, 1)
		time.Sleep(time.Second / 2)
		l.send("a", oldReport(macA, g, 1), leaveOf(macA, g, 2))
		synctest.Wait()
		const ask = "IGMPv3 239.1.0.1[] for 1s 0.0.0.0 > 239.1.0.1"
		l.wantQueries("after a leave", "a", ask)
		time.Sleep(4 * time.Second)
		l.wantQueries("after that", "a", ask)
		if n := s.MDBEntries(); n != 0 {
			t.Errorf("%d memberships", n)
		}
	})
}
