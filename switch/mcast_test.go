package vswitch_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// newSnoopingLab makes a switch that snoops, with a port "router" behind which a querier has been
// heard in VLAN 0.
func newSnoopingLab(t testing.TB, names ...string) *lab {
	l := newLab(t, vswitch.Config{Mcast: vswitch.McastConfig{Snooping: true}})
	l.addAll("router")
	l.addAll(names...)
	l.send("router", queryFor(macC, netip.MustParseAddr("10.0.0.1"), noIPv4, 0), queryFor(macC, netip.MustParseAddr("fe80::1"), noIPv6, 0))
	l.advance(time.Second)
	l.taken()
	return l
}

// taken returns how many frames each port was sent since the last call.
func (l *lab) taken() string {
	m := make(map[string]int)
	for name, p := range l.ports {
		if n := len(p.Take()); n > 0 {
			m[name] = n
		}
	}
	return fmt.Sprint(m)
}

func nthGroup(v6 bool, n int) netip.Addr {
	b := []byte{239, 1, byte(n >> 8), byte(n)}
	if v6 {
		b = slices.Concat([]byte{0xff, 5}, make([]byte, 12), []byte{byte(n >> 8), byte(n)})
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// joinMany makes a report that joins groups number first to first+n-1.
func joinMany(v6 bool, first, n int) []byte {
	var records [][]byte
	for i := range n {
		records = append(records, record(4, nthGroup(v6, first+i)))
	}
	return reportOf(macA, v6, 0, records...)
}

// A report is read beyond the frame's Head, up to the length of a packet on an ordinary Ethernet.
func TestLongReportIsReadWhole(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		l := newSnoopingLab(t, "a")
		n := 70
		l.send("a", joinMany(v6, 0, n))
		if entries, _ := l.s.MDB(vswitch.AnyVLAN); len(entries) != n {
			t.Errorf("IPv6=%v: %d of %d groups are joined", v6, len(entries), n)
		}
		events := l.ports["a"].counters.Mcast()
		if events[vswitch.McastTruncated] != 0 || events[vswitch.McastMalformed] != 0 {
			t.Errorf("IPv6=%v: %v", v6, events.ByName())
		}
		l.send("a", joinMany(v6, n, vswitch.ReportLen/8))
		if events = l.ports["a"].counters.Mcast(); events[vswitch.McastTruncated] != 1 {
			t.Errorf("IPv6=%v: a report of more than %d bytes: %v", v6, vswitch.ReportLen, events.ByName())
		}
		l.s.Check(t)
	}
}

// A guest that joins ever new groups does not keep others from joining.
func TestGroupsOfOnePortAreLimited(t *testing.T) {
	l := newSnoopingLab(t, "greedy", "other")
	for i := range vswitch.MaxGroupsPerPort/50 + 10 {
		l.send("greedy", joinMany(false, 50*i, 50))
		l.advance(time.Second)
	}
	l.send("other", joinMany(false, 60000, 1))
	of := make(map[string]int)
	entries, _ := l.s.MDB(vswitch.AnyVLAN)
	for _, e := range entries {
		of[e.Port]++
	}
	if of["greedy"] != vswitch.MaxGroupsPerPort || of["other"] != 1 {
		t.Errorf("memberships: %v", of)
	}
	if n := l.ports["greedy"].counters.Mcast()[vswitch.McastLimited]; n == 0 {
		t.Error("the limit is not counted")
	}
	l.s.Check(t)
}

// Joining and leaving all the time is limited per second, so that it does not occupy the MDB.
func TestChangesOfOnePortAreLimited(t *testing.T) {
	l := newSnoopingLab(t)
	l.add("a", func(c *vswitch.PortConfig) { c.McastFastLeave = true })
	g := nthGroup(false, 1)
	for range 2000 {
		l.send("a", reportOf(macA, false, 0, record(4, g)), reportOf(macA, false, 0, record(3, g)))
	}
	events := l.ports["a"].counters.Mcast()
	if changes := events[vswitch.McastJoined] + events[vswitch.McastLeft]; changes != 1024 || events[vswitch.McastLimited] == 0 {
		t.Errorf("%d changes in a second, %v", changes, events.ByName())
	}
	l.advance(time.Second)
	l.send("a", reportOf(macA, false, 0, record(4, g)))
	if entries, _ := l.s.MDB(vswitch.AnyVLAN); len(entries) != 1 {
		t.Errorf("in the next second: %v", entries)
	}
}

// A worker does not wait for the MDB's lock: the report is forwarded, and learned from later. If
// too many reports are left, some are lost, and counted.
func TestSnoopingDoesNotWait(t *testing.T) {
	l := newSnoopingLab(t, "a", "b")
	l.s.WithLockedMDB(func() { l.send("a", joinMany(false, 1, 3), multicastData(macA, nthGroup(false, 1), 7)) })
	if got := l.taken(); got != "map[b:1 router:2]" {
		t.Errorf("sent: %s", got)
	}
	l.send("b", joinMany(false, 4, 1)) // which makes up for what was left
	if entries, _ := l.s.MDB(vswitch.AnyVLAN); len(entries) != 4 {
		t.Errorf("learned: %v", entries)
	}
	l.s.WithLockedMDB(func() {
		for n := range vswitch.MaxLateMessages + 2 {
			l.send("a", joinMany(false, n, 1))
		}
	})
	l.advance(time.Second)
	if entries, _ := l.s.MDB(vswitch.AnyVLAN); len(entries) != vswitch.MaxLateMessages+1 {
		t.Errorf("%d memberships", len(entries))
	}
	if n := l.ports["a"].counters.Mcast()[vswitch.McastContended]; n != 2 {
		t.Errorf("counted %d times", n)
	}
	l.s.Check(t)
}

// The janitor learns from what was left, without another message.
func TestJanitorLearnsWhatWasLeft(t *testing.T) {
	s := vswitch.New(vswitch.Config{Mcast: vswitch.McastConfig{Snooping: true}})
	defer s.Close()
	c := vswitch.DefaultPortConfig("a")
	a, err := s.Attach(c, &vswitchtest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	a.SetUp(true)
	in := a.NewInlet()
	s.WithLockedMDB(func() { in.Deliver([]vswitch.Frame{vswitchtest.Frame(joinMany(false, 1, 1))}) })
	for s.MDBEntries() == 0 {
		time.Sleep(time.Millisecond)
	}
}

// Snooping can be turned on and off while ports are attached; turning it off forgets everything.
func TestSnoopingIsTurnedOnAndOff(t *testing.T) {
	l := newSnoopingLab(t, "a", "b")
	data := multicastData(macB, nthGroup(false, 1), 7)
	query := queryFor(macC, netip.MustParseAddr("10.0.0.1"), noIPv4, 0)
	set := func(c vswitch.McastConfig) {
		if _, err := l.s.Apply(&vswitch.Change{Mcast: &c, KeepStatic: true}); err != nil {
			t.Fatal(err)
		}
		l.s.Check(t)
		l.taken()
	}
	want := func(when, want string) {
		t.Helper()
		l.send("b", data)
		if got := l.taken(); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	l.send("a", joinMany(false, 1, 1))
	set(vswitch.McastConfig{Snooping: true, Unregistered: vswitch.McastFlooded})
	want("unregistered changed", "map[a:1 router:1]")
	set(vswitch.McastConfig{})
	want("off", "map[a:1 router:1]")
	if entries, nets := l.s.MDB(vswitch.AnyVLAN); len(entries)+len(nets) != 0 {
		t.Errorf("off: %v %v", entries, nets)
	}
	set(vswitch.McastConfig{Snooping: true})
	l.send("router", query)
	l.advance(time.Second)
	l.taken()
	want("on again", "map[router:1]")
	l.send("a", joinMany(false, 1, 1))
	l.taken()
	want("joined again", "map[a:1 router:1]")
}

// The id of a port that is detached may be another port's soon: that port inherits nothing.
func TestNewPortInheritsNoMemberships(t *testing.T) {
	l := newSnoopingLab(t, "a", "b")
	l.send("a", joinMany(false, 1, 1), queryFor(macA, netip.MustParseAddr("10.0.0.2"), noIPv4, 0))
	l.ports["a"].Detach()
	delete(l.ports, "a")
	l.addAll("new")
	l.taken()
	l.send("b", multicastData(macB, nthGroup(false, 1), 7))
	if got := l.taken(); got != "map[router:1]" {
		t.Errorf("sent: %s", got)
	}
	l.s.Check(t)
}

// igmpMessages are valid messages of every kind.
func igmpMessages() [][]byte {
	router := netip.MustParseAddr("10.0.0.1")
	g4, g6 := nthGroup(false, 1), nthGroup(true, 1)
	return [][]byte{
		oldReport(macA, g4, 1), oldReport(macA, g6, 1), leaveOf(macA, g4, 1), leaveOf(macA, g6, 1),
		queryFor(macA, router, noIPv4, 1), queryFor(macA, router, g4, 1),
		queryFor(macA, hostIPv6, noIPv6, 1), queryFor(macA, hostIPv6, g6, 1),
		joinMany(false, 1, 3), joinMany(true, 1, 3),
		reportOf(macA, false, 1, record(1, g4, router, hostIPv4), record(6, g4, router)),
		igmp(macA, router, netip.MustParseAddr("224.0.0.1"), 1, 0x11, 200, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0),
		mld(macA, hostIPv6, netip.MustParseAddr("ff02::6a"), 1, 151, 20, 0, 0, 0, 0, 0, 0),
		igmp(macA, router, netip.MustParseAddr("224.0.0.106"), 1, 0x30, 20, 0, 0, 0, 0, 0, 0),
	}
}

// A message with any wrong byte behind its IP header, or without its end, teaches nothing.
func TestSpoiltMessagesAreMalformed(t *testing.T) {
	for n, whole := range igmpMessages() {
		ip := whole[14:]
		if vswitch.ParseMulticast(whole, ip, false) < 0 {
			t.Errorf("message %d is taken for malformed: %x", n, ip)
		}
		first := 24 // with the router alert option
		if ip[0]>>4 == 6 {
			first = 48
		}
		for i := first; i < len(ip); i++ {
			if vswitch.ParseMulticast(whole, slices.Clip(ip[:i]), false) >= 0 {
				t.Errorf("message %d without the last %d bytes passes", n, len(ip)-i)
			}
			bad := slices.Clone(ip)
			bad[i] ^= 1
			if i != first && vswitch.ParseMulticast(whole, bad, false) >= 0 {
				t.Errorf("message %d with another byte %d passes", n, i)
			}
		}
	}
}

// MLD messages need hop limit 1, a link-local source and the router alert option.
func TestForgedMLDIsMalformed(t *testing.T) {
	g := nthGroup(true, 1)
	global := netip.MustParseAddr("2001:db8::1")
	report := func(from netip.Addr, option byte) []byte {
		b := mld(macA, from, g, 1, append([]byte{131, 0, 0, 0, 0, 0, 0, 0}, g.AsSlice()...)...)
		b[14+40+2] = option
		return b
	}
	far := report(hostIPv6, 5)
	far[14+7] = 2 // hop limit
	for name, tt := range map[string]struct {
		frame []byte
		ok    bool
	}{
		"as it should be":  {report(hostIPv6, 5), true},
		"no address yet":   {report(noIPv6, 5), true},
		"global source":    {report(global, 5), false},
		"no router alert":  {report(hostIPv6, 6), false},
		"hop limit 2":      {far, false},
		"query without ::": {queryFor(macA, noIPv6, noIPv6, 1), false},
	} {
		if ok := vswitch.ParseMulticast(tt.frame, tt.frame[14:], false) >= 0; ok != tt.ok {
			t.Errorf("%s: taken %v", name, ok)
		}
	}
}

// Messages that are well-formed and say nothing about who wants a group.
func TestMessagesThatChangeNothing(t *testing.T) {
	g, router := nthGroup(false, 1), netip.MustParseAddr("10.0.0.1")
	suppressed := igmp(macC, router, g, 1, slices.Concat([]byte{0x11, 10, 0, 0}, g.AsSlice(), []byte{8, 125, 0, 0})...)
	ofSources := igmp(macC, router, g, 1, slices.Concat([]byte{0x11, 10, 0, 0}, g.AsSlice(), []byte{0, 125, 0, 1, 10, 0, 0, 7})...)
	for name, tt := range map[string]struct {
		from  string
		frame []byte
		want  int // memberships, of one that was there before
	}{
		"a record that blocks a source":                     {"b", reportOf(macB, false, 0, record(6, g, router)), 1},
		"a query that has been answered already (S flag)":   {"router", suppressed, 1},
		"a query about a source":                            {"router", ofSources, 1},
		"a query about another group":                       {"router", queryFor(macC, router, nthGroup(false, 2), 1), 1},
		"for comparison: a query about the group":           {"router", queryFor(macC, router, g, 1), 0},
		"for comparison: a record that allows a source":     {"b", reportOf(macB, false, 0, record(5, g, router)), 2},
		"for comparison: a record that includes one source": {"b", reportOf(macB, false, 0, record(1, g, router)), 2},
	} {
		l := newSnoopingLab(t, "a", "b")
		l.send("a", joinMany(false, 1, 1))
		l.send(tt.from, tt.frame)
		l.advance(4 * time.Second)
		if n := l.s.MDBEntries(); n != tt.want {
			t.Errorf("%s: %d memberships, want %d", name, n, tt.want)
		}
	}
}

// A fragment, and a general query to a group, are malformed.
func TestMisdirectedMessagesAreMalformed(t *testing.T) {
	router := netip.MustParseAddr("10.0.0.1")
	fragment := oldReport(macA, nthGroup(false, 1), 1)
	fragment[14+6] = 0x20 // more fragments
	fragment[14+11] = 0
	fragment[14+10] = 0
	binary.BigEndian.PutUint16(fragment[14+10:], onesSum(fragment[14:14+24]...))
	for name, frame := range map[string][]byte{
		"a fragment":               fragment,
		"general query to a group": igmp(macA, router, nthGroup(false, 1), 1, 0x11, 10, 0, 0, 0, 0, 0, 0),
	} {
		if vswitch.ParseMulticast(frame, frame[14:], false) >= 0 {
			t.Errorf("%s passes", name)
		}
	}
}

// FuzzSnooping sends frames through a switch that snoops. It also parses them in slices without
// spare capacity, in which a read behind the end panics.
func FuzzSnooping(f *testing.F) {
	for _, b := range igmpMessages() {
		f.Add(b, false)
		f.Add(slices.Concat(b[:12], []byte{0x81, 0, 0, 5}, b[12:]), true)
		f.Add(b[:len(b)-3], true)
	}
	f.Add(multicastData(macA, nthGroup(true, 1), 1), false)
	l := newSnoopingLab(f, "a", "b")
	f.Fuzz(func(t *testing.T, b []byte, cut bool) {
		head := slices.Clip(b[:min(len(b), vswitch.HeadLen)])
		packet := slices.Clip(b[min(len(b), 14):])
		vswitch.ParseMulticast(head, packet, cut)
		if len(b) <= vswitch.MaxFrameLen {
			l.send("a", slices.Clone(b))
		}
		l.taken()
		l.s.Check(t)
	})
}

// TestSnoopingDoesNotAllocate: forwarding to groups and renewing memberships.
func TestSnoopingDoesNotAllocate(t *testing.T) {
	s, in := benchSnooping(t, 9)
	_ = s
	frames := groupFrames()
	frames[10] = vswitchtest.Frame(joinMany(false, 1, 1)) // renews it
	pristine := slices.Clone(frames)
	n := testing.AllocsPerRun(100, func() {
		copy(frames, pristine)
		in.Deliver(frames)
	})
	if n != 0 {
		t.Errorf("%v allocations in each Deliver", n)
	}
}

// benchSnooping makes a switch with n ports, of which the first two have joined group 1, and the
// last has a querier.
func benchSnooping(tb testing.TB, n int) (*vswitch.Switch, *vswitch.Inlet) {
	s, ins := benchSwitch(tb, n, nil)
	on := vswitch.McastConfig{Snooping: true}
	if _, err := s.Apply(&vswitch.Change{Mcast: &on, KeepStatic: true}); err != nil {
		tb.Fatal(err)
	}
	ins[n-1].Deliver([]vswitch.Frame{vswitchtest.Frame(queryFor(macC, netip.MustParseAddr("10.0.0.1"), noIPv4, 0))})
	s.Advance(time.Second)
	for _, in := range ins[:2] {
		in.Deliver([]vswitch.Frame{vswitchtest.Frame(joinMany(false, 1, 1))})
	}
	return s, ins[0]
}

// groupFrames makes a batch to group 1.
func groupFrames() []vswitch.Frame {
	frames := make([]vswitch.Frame, vswitch.MaxBatch)
	for i := range frames {
		frames[i] = vswitchtest.Frame(multicastData(macA, nthGroup(false, 1), i))
	}
	return frames
}

// BenchmarkMulticast compares a group with two members of nine ports with flooding.
func BenchmarkMulticast(b *testing.B) {
	for _, snooping := range []bool{false, true} {
		b.Run(fmt.Sprintf("snooping %v", snooping), func(b *testing.B) {
			s, in := benchSnooping(b, 9)
			if _, err := s.Apply(&vswitch.Change{Mcast: &vswitch.McastConfig{Snooping: snooping}, KeepStatic: true}); err != nil {
				b.Fatal(err)
			}
			frames := groupFrames()
			pristine := slices.Clone(frames)
			b.ReportAllocs()
			for b.Loop() {
				copy(frames, pristine)
				in.Deliver(frames)
			}
			perFrame(b, len(frames))
		})
	}
}

// Ports join, leave, go down and are detached, and snooping is turned on and off, while others
// send: run with -race.
func TestSnoopingConcurrently(t *testing.T) {
	l := newSnoopingLab(t, "a", "b", "c", "gone")
	var wg sync.WaitGroup
	for i, name := range []string{"a", "b"} {
		wg.Go(func() {
			for n := range 300 {
				g := nthGroup(i == 1, n%10)
				l.send(name, reportOf(macA, i == 1, n, record(4, g)), multicastData(macA, g, n), reportOf(macA, i == 1, n, record(3, g)))
			}
		})
	}
	wg.Go(func() {
		for n := range 100 {
			l.ports["c"].SetUp(n%2 == 0)
			l.s.Advance(time.Second)
			l.s.MDB(vswitch.AnyVLAN)
			l.s.Apply(&vswitch.Change{Mcast: &vswitch.McastConfig{Snooping: n%10 != 0}, KeepStatic: true})
		}
	})
	l.send("gone", joinMany(false, 1, 5))
	l.ports["gone"].Detach()
	wg.Wait()
	l.s.Check(t)
}

// A frame to a group's Ethernet address with another IP address is treated by its IP address: 32
// groups share an Ethernet address.
func TestGroupsThatShareAnAddressAreDistinct(t *testing.T) {
	l := newSnoopingLab(t, "a", "b", "c")
	joined, other := netip.MustParseAddr("239.1.0.5"), netip.MustParseAddr("224.129.0.5")
	if groupMAC(joined) != groupMAC(other) {
		t.Fatal("the addresses differ")
	}
	l.send("a", reportOf(macA, false, 0, record(4, joined)))
	l.taken()
	l.send("b", multicastData(macB, joined, 1), multicastData(macB, other, 2))
	if got := l.taken(); got != "map[a:1 router:2]" {
		t.Errorf("sent: %s", got)
	}
	// Neither is a unicast packet in a multicast frame, or one with more tags, a group's.
	odd := multicastData(macB, joined, 3)
	binary.BigEndian.PutUint32(odd[14+16:], 0x0a000001)
	double := slices.Concat(odd[:12], []byte{0x81, 0, 0, 0, 0x81, 0, 0, 0}, odd[12:])
	l.send("b", odd, double)
	if got := l.taken(); got != "map[a:2 c:2 router:2]" {
		t.Errorf("sent: %s", got)
	}
}
