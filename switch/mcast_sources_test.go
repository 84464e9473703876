package vswitch_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	vswitch "vswitchd/switch"
)

// nthSource returns source addresses that tests name by numbers.
func nthSource(v6 bool, n int) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.1.%d.%d", n>>8, n&255))
}

// Kinds of records.
const (
	isIn = 1 + iota
	isEx
	toIn
	toEx
	allow
	block
)

// sources makes a report of one record about group 1, whose sources are digits.
func sources(v6 bool, kind byte, digits string) []byte {
	var list []netip.Addr
	for _, d := range digits {
		list = append(list, nthSource(v6, int(d-'0')))
	}
	return reportOf(macA, v6, 0, record(kind, nthGroup(v6, 1), list...))
}

// state describes what port a wants of group 1: the filter mode, the group timer, wanted sources
// with their timers and blocked ones.
func (l *lab) state(v6 bool) string {
	entries, _ := l.s.MDB(vswitch.AnyVLAN)
	for _, e := range entries {
		if e.Group != nthGroup(v6, 1) {
			continue
		}
		text := "IN"
		if e.Exclude {
			text = fmt.Sprintf("EX %d", e.Expires/time.Second)
		}
		for _, s := range e.Sources {
			n := s.Address.As16()[15]
			if s.Blocked {
				text += fmt.Sprintf(" -%d", n)
			} else {
				text += fmt.Sprintf(" %d:%d", n, s.Expires/time.Second)
			}
		}
		return text
	}
	return "none"
}

// The tables of RFC 3376, section 6.4.1 and 6.4.2, which are those of RFC 3810, section 7.4. The
// switch is the querier; what it asks about ends after two seconds.
func TestTransitionsOfSources(t *testing.T) {
	include := func(v6 bool) [][]byte { return [][]byte{sources(v6, allow, "12")} }
	exclude := func(v6 bool) [][]byte { return [][]byte{sources(v6, isEx, "34"), sources(v6, allow, "12")} }
	for _, tt := range []struct {
		name    string
		from    func(v6 bool) [][]byte // 100 s ago
		kind    byte
		sources string
		want    string
		asks    string // sources of queries; G: the group
	}{
		{"INCLUDE, IS_IN", include, isIn, "23", "IN 1:160 2:260 3:260", ""},
		{"INCLUDE, IS_EX", include, isEx, "23", "EX 260 2:160 -3", ""},
		{"INCLUDE, ALLOW", include, allow, "23", "IN 1:160 2:260 3:260", ""},
		{"INCLUDE, BLOCK", include, block, "23", "IN 1:160 2:2", "2"},
		{"INCLUDE, TO_EX", include, toEx, "23", "EX 260 2:2 -3", "2"},
		{"INCLUDE, TO_IN", include, toIn, "23", "IN 1:2 2:260 3:260", "1"},
		{"INCLUDE, TO_IN of none", include, toIn, "", "IN 1:2 2:2", "12"},
		{"EXCLUDE, IS_IN", exclude, isIn, "235", "EX 160 1:160 2:260 3:260 -4 5:260", ""},
		{"EXCLUDE, IS_EX", exclude, isEx, "235", "EX 260 2:160 -3 5:260", ""},
		{"EXCLUDE, ALLOW", exclude, allow, "235", "EX 160 1:160 2:260 3:260 -4 5:260", ""},
		{"EXCLUDE, BLOCK", exclude, block, "235", "EX 160 1:160 2:2 -3 -4 5:2", "25"},
		{"EXCLUDE, TO_EX", exclude, toEx, "235", "EX 260 2:2 -3 5:2", "25"},
		{"EXCLUDE, TO_IN", exclude, toIn, "235", "EX 2 1:2 2:260 3:260 -4 5:260", "G 1"},
		{"EXCLUDE, TO_EX of none", exclude, toEx, "", "EX 260", ""},
		{"none, IS_EX", func(bool) [][]byte { return nil }, isEx, "1", "EX 260 -1", ""},
		{"none, BLOCK", func(bool) [][]byte { return nil }, block, "1", "none", ""},
		{"none, TO_IN of none", func(bool) [][]byte { return nil }, toIn, "", "none", ""},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6=%v", tt.name, v6), func(t *testing.T) {
				l := newQuerierLab(t, vswitch.QuerierConfig{}, "a")
				l.advance(40 * time.Second)
				l.send("a", tt.from(v6)...)
				l.advance(100 * time.Second)
				l.taken()
				l.send("a", sources(v6, tt.kind, tt.sources))
				if got := l.state(v6); got != tt.want {
					t.Errorf("state %s, want %s", got, tt.want)
				}
				l.s.Check(t)
				l.s.SendQueries()
				var asks []string
				for ask := range strings.SplitSeq(tt.asks, " ") {
					if ask != "" {
						asks = append(asks, askAbout(v6, ask))
					}
				}
				l.wantQueries("asked", "a", asks...)
				l.s.Check(t)
			})
		}
	}
}

// askAbout describes the query about group 1, for all sources (G) or for some.
func askAbout(v6 bool, digits string) string {
	var list []string
	for _, d := range strings.TrimPrefix(digits, "G") {
		list = append(list, nthSource(v6, int(d-'0')).String())
	}
	g := nthGroup(v6, 1)
	if v6 {
		return fmt.Sprintf("MLDv2 %v%v for 1000 ms %s > %v", g, list, ownLinkLocal, g)
	}
	return fmt.Sprintf("IGMPv3 %v%v for 1s 0.0.0.0 > %v", g, list, g)
}

// The timers of a membership: a source that is no longer wanted is removed, or blocked; when the
// group timer ends, the sources that are wanted remain.
func TestSourcesExpire(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a")
	l.advance(20 * time.Second)
	steps := []struct {
		report []byte
		after  int
		want   string
	}{
		{sources(false, allow, "1"), 100, "IN 1:160"},
		{sources(false, allow, "2"), 161, "IN 2:99"},
		{sources(false, isEx, "3"), 200, "EX 60 -3"},
		{sources(false, allow, "45"), 30, "EX 30 -3 4:230 5:230"},
		{sources(false, block, "5"), 3, "EX 27 -3 4:227 -5"},
		{nil, 28, "IN 4:199"},
		{nil, 200, "none"},
	}
	for i, s := range steps {
		if s.report != nil {
			l.send("a", s.report)
		}
		l.advance(time.Duration(s.after) * time.Second)
		if got := l.state(false); got != s.want {
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
		l.s.Check(t)
	}
}

// The switch asks again only about sources that have not been reported meanwhile.
func TestQuerierAsksAboutSourcesOnlyOnce(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{}, "a")
	l.advance(40 * time.Second)
	l.taken()
	l.send("a", sources(true, allow, "123"), sources(true, block, "12"), sources(true, block, "23"))
	l.s.SendQueries()
	l.wantQueries("at first", "a", askAbout(true, "12"), askAbout(true, "3"))
	l.send("a", sources(true, isIn, "13"))
	l.advance(time.Second)
	l.wantQueries("a second later", "a", askAbout(true, "2"))
	l.advance(2 * time.Second)
	l.wantQueries("after that", "a")
	if got := l.state(true); got != "IN 1:257 3:257" {
		t.Errorf("%s", got)
	}
	l.send("a", sources(true, block, "1"))
	l.s.SendQueries()
	l.wantQueries("blocked again", "a", askAbout(true, "1"))
}

// A querier whose versions know no sources does not ask about them, and nothing ends unasked.
func TestOldQuerierDoesNotAskAboutSources(t *testing.T) {
	l := newQuerierLab(t, vswitch.QuerierConfig{IGMP: 2, MLD: 1}, "a")
	l.advance(40 * time.Second)
	l.taken()
	for _, v6 := range []bool{false, true} {
		l.send("a", sources(v6, allow, "12"), sources(v6, block, "1"))
		l.s.SendQueries()
		l.wantQueries("a source is blocked", "a")
		if got := l.state(v6); got != "IN 1:260 2:260" {
			t.Errorf("%s", got)
		}
	}
}

// Queries of another querier make what they ask about end.
func TestQueriesLowerTimersOfSources(t *testing.T) {
	g := nthGroup(false, 1)
	ask := func(flags byte, digits string) []byte {
		msg := append([]byte{0x11, 10, 0, 0}, g.AsSlice()...)
		msg = append(msg, flags, 125, 0, byte(len(digits)))
		for _, d := range digits {
			msg = append(msg, nthSource(false, int(d-'0')).AsSlice()...)
		}
		return igmp(macC, netip.MustParseAddr("10.0.0.1"), g, 1, msg...)
	}
	for _, tt := range []struct {
		name string
		from []byte
		ask  []byte
		want string
	}{
		{"the group, INCLUDE", sources(false, allow, "12"), ask(0, ""), "IN 1:260 2:260"},
		{"the group, EXCLUDE", sources(false, isEx, "1"), ask(0, ""), "EX 2 -1"},
		{"a source, INCLUDE", sources(false, allow, "12"), ask(0, "13"), "IN 1:2 2:260"},
		{"a source, EXCLUDE", sources(false, isEx, "1"), ask(0, "13"), "EX 260 -1"},
		{"a source, answered (S flag)", sources(false, allow, "12"), ask(8, "1"), "IN 1:260 2:260"},
	} {
		l := newSnoopingLab(t, "a")
		l.send("a", tt.from)
		l.send("router", tt.ask)
		if got := l.state(false); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A port with more sources than can be recorded gets what comes from all.
func TestTooManySources(t *testing.T) {
	many := func(group, n int) []byte {
		var list []netip.Addr
		for i := range n {
			list = append(list, nthSource(false, i+1))
		}
		return reportOf(macA, false, 0, record(allow, nthGroup(false, group), list...))
	}
	of := func(l *lab, port string, group int) (exclude bool, sources int) {
		entries, _ := l.s.MDB(vswitch.AnyVLAN)
		i := slices.IndexFunc(entries, func(e vswitch.MDBEntry) bool { return e.Port == port && e.Group == nthGroup(false, group) })
		return entries[i].Exclude, len(entries[i].Sources)
	}
	check := func(l *lab, port string, group int, exclude bool, sources int) {
		t.Helper()
		if ex, n := of(l, port, group); ex != exclude || n != sources {
			t.Errorf("%s, group %d: exclude %v with %d sources, want %v with %d", port, group, ex, n, exclude, sources)
		}
		l.s.Check(t)
	}
	l := newSnoopingLab(t, "a")
	l.send("a", many(1, vswitch.MaxSources), many(2, vswitch.MaxSources+1))
	check(l, "a", 1, false, vswitch.MaxSources)
	check(l, "a", 2, true, 0)
	if n := l.ports["a"].counters.Mcast()[vswitch.McastLimited]; n != 1 {
		t.Errorf("limited %d times", n)
	}

	l = newSnoopingLab(t, "a")
	last := vswitch.MaxSourcesPerPort / vswitch.MaxSources
	for g := range last + 1 {
		l.send("a", many(g+1, vswitch.MaxSources))
	}
	check(l, "a", last, false, vswitch.MaxSources)
	check(l, "a", last+1, true, 0)

	var names []string
	last = vswitch.MaxSourcesPerGroup / vswitch.MaxSources
	for i := range last + 1 {
		names = append(names, fmt.Sprint("p", i))
	}
	l = newSnoopingLab(t, names...)
	for _, name := range names {
		l.send(name, many(1, vswitch.MaxSources))
	}
	check(l, names[last-1], 1, false, vswitch.MaxSources)
	check(l, names[last], 1, true, 0)
}
