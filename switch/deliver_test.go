package vswitch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

func TestFloodsUntilLearned(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("a", ether(macB, macA, "1"))
	l.want("unknown destination", got{"b": "1", "c": "1"})
	l.send("b", ether(macA, macB, "2"))
	l.want("answer", got{"a": "2"})
	l.send("a", ether(macB, macA, "3"))
	l.want("known destination", got{"b": "3"})
	l.send("a", ether(broadcast, macA, "4"), ether(multicast, macA, "5"))
	l.want("group addresses", got{"b": "4 5", "c": "4 5"})
	l.drops("a", nil)
}

func TestReservedAddressesAreNotForwarded(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	for i := range 16 {
		l.send("a", ether(vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, byte(i)}, macA, "x"))
	}
	l.want("01:80:c2:00:00:00-0f", got{})
	l.drops("a", drops{"reserved-address": 16})
	l.send("a", ether(vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, 0x10}, macA, "y"))
	l.want("01:80:c2:00:00:10", got{"b": "y"})
}

// Each bit of group_fwd_mask lets one reserved address through, in both shapes of a batch: alone and
// among frames to the others. The mask of the port that the frame comes from counts, and a change
// takes effect with the next frame.
func TestGroupFwdMask(t *testing.T) {
	reserved := func(i int) vswitch.MAC { return vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, byte(i)} }
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.addAll("b", "c")
	for bit := range 16 {
		cfg := a.Config()
		cfg.GroupFwdMask = 1 << bit
		if err := a.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
		var batch [][]byte
		for i := range 16 {
			batch = append(batch, ether(reserved(i), macA, fmt.Sprint(i)))
		}
		l.send("a", batch...)
		l.want(fmt.Sprintf("mask %#x", 1<<bit), got{"b": fmt.Sprint(bit), "c": fmt.Sprint(bit)})
		l.send("a", ether(reserved(bit), macA, "alone"), ether(reserved(bit), macA, "again"))
		l.want(fmt.Sprintf("mask %#x", 1<<bit), got{"b": "alone again", "c": "alone again"})
		l.send("b", ether(reserved(bit), macB, "back"))
		l.want("from a port whose mask is 0", got{})
	}
	l.drops("a", drops{"reserved-address": 16 * 15})
	l.drops("b", drops{"reserved-address": 16})
}

// A reserved address that passes is a group address like any other: ports that get no multicast,
// are isolated or are not in the VLAN do not get the frame.
func TestGroupFwdMaskObeysOtherRules(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	lldp := vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, 0x0e}
	l.add("a", func(c *vswitch.PortConfig) { c.GroupFwdMask, c.Tag, c.Isolated = 1<<0xe, 5, true })
	l.add("same", func(c *vswitch.PortConfig) { c.Tag = 5 })
	l.add("other", func(c *vswitch.PortConfig) { c.Tag = 6 })
	l.add("dry", func(c *vswitch.PortConfig) { c.Tag, c.McastFlood = 5, false })
	l.add("isolated", func(c *vswitch.PortConfig) { c.Tag, c.Isolated = 5, true })
	l.send("a", ether(lldp, macA, "x"))
	l.want("LLDP", got{"same": "x"})
	l.wantWhere(macA, 5, "a")
}

func TestBadFramesAreDropped(t *testing.T) {
	for _, tt := range []struct {
		name   string
		frame  func() vswitch.Frame
		reason string
	}{
		{"empty", func() vswitch.Frame { return vswitchtest.Frame(nil) }, "too-short"},
		{"13 bytes", func() vswitch.Frame { return vswitchtest.Frame(ether(macB, macA, "")[:13]) }, "too-short"},
		{"half a tag", func() vswitch.Frame {
			return vswitchtest.Frame(ether(macB, macA, "", vswitchtest.Tag{TCI: 5})[:17])
		}, "too-short"},
		{"too long", func() vswitch.Frame {
			return vswitchtest.Frame(ether(macB, macA, strings.Repeat("x", vswitch.MaxFrameLen-14+1)))
		}, "too-long"},
		{"multicast source", func() vswitch.Frame { return vswitchtest.Frame(ether(macB, multicast, "")) }, "bad-source"},
		{"broadcast source", func() vswitch.Frame { return vswitchtest.Frame(ether(macB, broadcast, "")) }, "bad-source"},
		{"zero source", func() vswitch.Frame { return vswitchtest.Frame(ether(macB, vswitch.MAC{}, "")) }, "bad-source"},
		{"checksum outside the frame", func() vswitch.Frame {
			f := vswitchtest.Frame(ether(macB, macA, ""))
			f.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: 200}
			return f
		}, "bad-offload"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.addAll("a", "b")
			// Between two good frames: these must not suffer.
			l.ports["a"].in.Deliver([]vswitch.Frame{
				vswitchtest.Frame(ether(macB, macA, "1")), tt.frame(), vswitchtest.Frame(ether(macB, macA, "2")),
			})
			l.want("bad frame between good ones", got{"b": "1 2"})
			l.drops("a", drops{tt.reason: 1})
			if n := l.ports["a"].counters.RxFrames.Load(); n != 3 {
				t.Errorf("RxFrames %d, want 3", n)
			}
		})
	}
}

// Frames with the same addresses are classified together. A guest must not get anything
// through with the first one's verdict.
func TestFramesAlikeAreToldApart(t *testing.T) {
	good := func(payload string) vswitch.Frame { return vswitchtest.Frame(ether(macB, macA, payload)) }
	bad := good("bad")
	bad.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: 200}
	for name, c := range map[string]struct {
		frames []vswitch.Frame
		want   got
		drops  drops
	}{
		"nothing but zeros": {
			[]vswitch.Frame{vswitchtest.Frame(make([]byte, 60)), vswitchtest.Frame(make([]byte, 60))},
			got{}, drops{"bad-source": 2},
		},
		"an offload, first": {[]vswitch.Frame{bad, good("1"), good("2")}, got{"b": "1 2"}, drops{"bad-offload": 1}},
		"an offload, later": {[]vswitch.Frame{good("1"), bad, good("2")}, got{"b": "1 2"}, drops{"bad-offload": 1}},
		"too long": {
			[]vswitch.Frame{good("1"), good(strings.Repeat("x", vswitch.MaxFrameLen-14+1)), good("2")},
			got{"b": "1 2"}, drops{"too-long": 1},
		},
		"too short": {[]vswitch.Frame{good("1"), vswitchtest.Frame(ether(macB, macA, "")[:13])}, got{"b": "1"}, drops{"too-short": 1}},
		"another VLAN": {
			[]vswitch.Frame{good("1"), vswitchtest.Frame(ether(macB, macA, "5", vswitchtest.Tag{TCI: 5})), good("2"),
				vswitchtest.Frame(ether(macB, macA, "6", vswitchtest.Tag{TCI: 6})), vswitchtest.Frame(ether(macB, macA, "5", vswitchtest.Tag{TCI: 5}))},
			got{"b": "1 5 2 5"}, drops{"vlan": 1},
		},
		"others between": {
			[]vswitch.Frame{good("1"), vswitchtest.Frame(ether(macB, vswitch.MAC{}, "")), good("2"), vswitchtest.Frame(ether(multicast, macA, "m")), good("3")},
			got{"b": "1 2 m 3"}, drops{"bad-source": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.add("a", func(c *vswitch.PortConfig) { c.Trunks, c.VLANMode, c.Tag = []uint16{5}, vswitch.VLANNativeUntagged, 7 })
			l.add("b", func(c *vswitch.PortConfig) {
				c.Trunks, c.VLANMode, c.Tag = []uint16{5, 6}, vswitch.VLANNativeUntagged, 7
			})
			l.ports["a"].in.Deliver(c.frames)
			l.want("frames that look alike", c.want)
			l.drops("a", c.drops)
		})
	}
}

func TestNothingGoesBackOutOfItsPort(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	l.send("a", ether(broadcast, macA, "1"), ether(broadcast, macC, "2"))
	l.want("broadcast", got{"b": "1 2"})
	l.send("a", ether(macC, macA, "3"))
	l.want("to a station behind the same port", got{})
	l.drops("a", drops{"own-port": 1})
}

func TestHairpin(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Hairpin = true })
	l.add("b")
	l.send("a", ether(broadcast, macA, "1"), ether(broadcast, macC, "2"))
	l.want("broadcast", got{"a": "1 2", "b": "1 2"})
	l.send("a", ether(macC, macA, "3"))
	l.want("to a station behind the same port", got{"a": "3"})
}

func TestIsolatedPortsDoNotReachEachOther(t *testing.T) {
	isolated := func(c *vswitch.PortConfig) { c.Isolated = true }
	l := newLab(t, vswitch.Config{})
	l.add("a", isolated)
	l.add("b", isolated)
	l.add("up")
	l.send("a", ether(broadcast, macA, "1"))
	l.want("broadcast from isolated", got{"up": "1"})
	l.send("b", ether(macA, macB, "2"))
	l.want("isolated to isolated", got{})
	l.drops("b", drops{"policy": 1})
	l.send("up", ether(macA, macC, "3"), ether(broadcast, macC, "4"))
	l.want("from the other one", got{"a": "3 4", "b": "4"})
	l.send("b", ether(macC, macB, "5"))
	l.want("to the other one", got{"up": "5"})
}

func TestFloodFlags(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("src")
	l.add("nounknown", func(c *vswitch.PortConfig) { c.Flood = false })
	l.add("nomcast", func(c *vswitch.PortConfig) { c.McastFlood = false })
	l.add("nobcast", func(c *vswitch.PortConfig) { c.BcastFlood = false })
	l.send("src", ether(macB, macA, "u"), ether(multicast, macA, "m"), ether(broadcast, macA, "b"))
	l.want("flags", got{"nounknown": "m b", "nomcast": "u b", "nobcast": "u m"})
	l.drops("src", nil)
}

func TestNowhereToGoIsCounted(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a")
	l.add("b", func(c *vswitch.PortConfig) { c.Flood = false })
	l.send("a", ether(macB, macA, "1"), ether(broadcast, macA, "2"), ether(macC, macA, "3"))
	l.want("unknown unicast with flooding off", got{"b": "2"})
	l.drops("a", drops{"no-destination": 2})
}

// TestOrderIsKept mixes unicast and flooded frames: each port gets its own in
// the order in which they came.
func TestOrderIsKept(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macB, ""))
	l.send("c", ether(broadcast, macC, ""))
	l.got()
	l.send("a", ether(macB, macA, "1"), ether(macC, macA, "2"), ether(broadcast, macA, "3"),
		ether(macB, macA, "4"), ether(vswitchtest.Station(99), macA, "5"), ether(macC, macA, "6"))
	l.want("mixed batch", got{"b": "1 3 4 5", "c": "2 3 5 6"})
}

func TestOneTransmitForEachDestination(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macB, ""))
	l.send("c", ether(broadcast, macC, ""))
	b, c := l.ports["b"].Batches(), l.ports["c"].Batches()
	var batch [][]byte
	for i := range vswitch.MaxBatch {
		batch = append(batch, ether([]vswitch.MAC{macB, macC, broadcast}[i%3], macA, ""))
	}
	l.send("a", batch...)
	if nb, nc := l.ports["b"].Batches()-b, l.ports["c"].Batches()-c; nb != 1 || nc != 1 {
		t.Errorf("Transmit was called %d and %d times, want once each", nb, nc)
	}
}

func TestMoreThanABatch(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	var batch [][]byte
	var want []string
	for i := range 3*vswitch.MaxBatch + 1 {
		want = append(want, fmt.Sprint(i))
		batch = append(batch, ether(macB, macA, want[i]))
	}
	l.send("a", batch...)
	l.send("a")
	l.want("193 frames", got{"b": strings.Join(want, " ")})
}

func TestReceivedIsCounted(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	l.send("a", ether(macB, macA, "12345"), ether(macB, multicast, ""))
	c := l.ports["a"].counters
	if f, b := c.RxFrames.Load(), c.RxBytes.Load(); f != 2 || b != 19+14 {
		t.Errorf("received %d frames of %d bytes, want 2 of 33", f, b)
	}
	c = l.ports["b"].counters
	if f, b := c.TxFrames.Load(), c.TxBytes.Load(); f != 1 || b != 19 {
		t.Errorf("sent %d frames of %d bytes, want 1 of 19", f, b)
	}
}

func TestMove(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("a", ether(broadcast, macA, ""))
	l.wantWhere(macA, 0, "a")
	l.send("b", ether(broadcast, macA, ""))
	l.wantWhere(macA, 0, "b")
	l.got()
	l.send("c", ether(macA, macC, "1"))
	l.want("after the move", got{"b": "1"})
	if st := l.s.Stats(); st.Moved != 1 || st.Learned != 2 || st.Entries != 2 {
		t.Errorf("stats %+v, want 1 moved, 2 learned, 2 entries", st)
	}
}

func TestAgeing(t *testing.T) {
	l := newLab(t, vswitch.Config{AgingTime: 10 * time.Second})
	l.addAll("a", "b", "c")
	l.send("a", ether(broadcast, macA, ""))
	l.send("b", ether(broadcast, macB, ""))
	l.advance(6 * time.Second)
	l.send("a", ether(broadcast, macA, "")) // is still there
	l.got()
	l.advance(5 * time.Second)
	l.wantWhere(macA, 0, "a")
	l.wantWhere(macB, 0, "")
	l.send("c", ether(macA, macC, "1"), ether(macB, macC, "2"))
	l.want("a was heard of 5 s ago, b 11 s ago", got{"a": "1 2", "b": "2"})
	for _, e := range l.s.FDB("a", vswitch.AnyVLAN) {
		if e.Age != 5*time.Second {
			t.Errorf("age of %v is not 5 s", e)
		}
	}
	l.advance(30 * time.Second)
	if st := l.s.Stats(); st.Entries != 0 || st.Expired != 3 {
		t.Errorf("stats %+v, want 0 entries, 3 expired", st)
	}
}

func TestNotLearning(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Learning = false })
	l.addAll("b", "c")
	l.send("a", ether(broadcast, macA, ""))
	l.got()
	l.send("b", ether(macA, macB, "1"))
	l.want("to a port that does not learn", got{"a": "1", "c": "1"})
}

func TestMaxMACs(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.MaxMACs = 2; c.MACs = []vswitch.MAC{macA} })
	l.add("b")
	for i := range 4 {
		l.send("a", ether(broadcast, vswitchtest.Station(100+i), fmt.Sprint(i)))
	}
	l.send("b", ether(broadcast, vswitchtest.Station(200), ""))
	l.send("a", ether(broadcast, vswitchtest.Station(200), "4"))
	l.want("frames are forwarded all the same", got{"a": "", "b": "0 1 2 3 4"})
	if n := len(l.s.FDB("a", vswitch.AnyVLAN)); n != 3 {
		t.Errorf("%d entries, want 2 learned and 1 pinned", n)
	}
	l.wantWhere(vswitchtest.Station(200), 0, "b")
	if st := l.s.Stats(); st.Limited != 3 {
		t.Errorf("stats %+v, want 3 limited", st)
	}
	if n, err := l.s.Flush("a", vswitch.AnyVLAN); n != 2 || err != nil {
		t.Errorf("Flush: %d, %v; want 2", n, err)
	}
	l.send("a", ether(broadcast, vswitchtest.Station(103), ""))
	l.wantWhere(vswitchtest.Station(103), 0, "a")
}

func TestStaticEntries(t *testing.T) {
	l := newLab(t, vswitch.Config{AgingTime: 10 * time.Second})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macA, "")) // a dynamic entry that gives way
	if err := l.s.AddStatic(macA, 0, "a"); err != nil {
		t.Fatal(err)
	}
	l.got()
	l.send("b", ether(broadcast, macA, "1")) // forwarded, but not learned
	l.want("static address from elsewhere", got{"a": "1", "c": "1"})
	l.wantWhere(macA, 0, "a")
	if st := l.s.Stats(); st.StaticClaims != 1 || st.Moved != 0 || st.Static != 1 {
		t.Errorf("stats %+v, want 1 static claim, none moved", st)
	}
	l.advance(time.Minute)
	l.wantWhere(macA, 0, "a")
	if _, err := l.s.Flush("", vswitch.AnyVLAN); err != nil {
		t.Error(err)
	}
	l.wantWhere(macA, 0, "a")
	if err := l.s.AddStatic(macA, 0, "c"); err != nil { // the operator may move it
		t.Error(err)
	}
	l.wantWhere(macA, 0, "c")
	if err := l.s.DelFDB(macA, 0); err != nil {
		t.Error(err)
	}
	l.wantWhere(macA, 0, "")

	for _, tt := range []struct {
		err, want error
	}{
		{l.s.AddStatic(macA, 0, "nobody"), vswitch.ErrNoPort},
		{l.s.AddStatic(multicast, 0, "a"), vswitch.ErrBadMAC},
		{l.s.AddStatic(vswitch.MAC{}, 0, "a"), vswitch.ErrBadMAC},
		{l.s.AddStatic(macA, 4096, "a"), vswitch.ErrBadVLAN},
		{l.s.DelFDB(macA, 0), vswitch.ErrNoEntry},
		{l.s.DelFDB(macC, 4096), vswitch.ErrNoEntry},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("got error %v, want %v", tt.err, tt.want)
		}
	}
}

func TestPinnedAddresses(t *testing.T) {
	pin := func(m vswitch.MAC) func(*vswitch.PortConfig) {
		return func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{m} }
	}
	l := newLab(t, vswitch.Config{})
	a := l.add("a", pin(macA))
	l.addAll("b", "c")
	l.send("b", ether(macA, macB, "1"), ether(broadcast, macA, "2"))
	l.want("known before it has sent; not stolen", got{"a": "1 2", "c": "2"})
	l.wantWhere(macA, 0, "a")

	if err := l.s.AddStatic(macA, 0, "b"); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Errorf("AddStatic: %v", err)
	}
	if err := l.s.DelFDB(macA, 0); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Errorf("DelFDB: %v", err)
	}
	cfg := vswitch.DefaultPortConfig("d")
	pin(macA)(&cfg)
	if _, err := l.s.Attach(cfg, &vswitchtest.Recorder{}); !errors.Is(err, vswitch.ErrAddressPinned) {
		t.Errorf("Attach: %v", err)
	}
	if n := len(l.s.Ports()); n != 3 {
		t.Errorf("%d ports after a failed Attach, want 3", n)
	}

	cfg = a.Config()
	pin(macC)(&cfg)
	if err := a.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.wantWhere(macA, 0, "")
	l.wantWhere(macC, 0, "a")
	a.Detach()
	l.wantWhere(macC, 0, "")
	l.add("d", pin(macC))
	l.wantWhere(macC, 0, "d")
}

func TestDownPort(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.addAll("b", "c")
	if err := l.s.AddStatic(macA, 0, "a"); err != nil {
		t.Fatal(err)
	}
	l.send("a", ether(broadcast, macC, ""))
	l.got()
	a.SetUp(false)
	l.wantWhere(macC, 0, "") // forgotten
	l.wantWhere(macA, 0, "a")
	l.send("b", ether(macA, macB, "1"), ether(broadcast, macB, "2"), ether(macA, macB, "3"))
	l.want("unicast to a port that is down is not flooded", got{"c": "2"})
	l.drops("a", drops{"port-down": 2})
	l.drops("b", nil)
	l.send("b", ether(macA, macB, "4"))
	l.drops("a", drops{"port-down": 3})
	l.send("a", ether(broadcast, macC, "5"))
	l.want("from a port that is down", got{})
	l.wantWhere(macC, 0, "")
	l.drops("a", drops{"port-down": 3, "source-down": 1})
	a.SetUp(true)
	l.send("b", ether(macA, macB, "6"))
	l.want("up again", got{"a": "6"})
}

func TestDetach(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.addAll("b", "c")
	l.send("a", ether(broadcast, macA, ""))
	l.got()
	a.Detach()
	a.Detach()
	l.wantWhere(macA, 0, "")
	l.send("b", ether(macA, macB, "1"))
	l.want("to who was behind it", got{"c": "1"})
	l.send("a", ether(broadcast, macA, "2"))
	l.want("from its inlet", got{})
	l.drops("a", drops{"source-down": 1})
	if err := a.Reconfigure(a.Config()); !errors.Is(err, vswitch.ErrDetached) {
		t.Errorf("Reconfigure: %v", err)
	}
	a.SetUp(true)
	in := a.in

	// The name, and even the id, can be had again; the old inlet stays dead.
	l.add("a")
	in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macA, "3"))})
	l.want("from the old inlet", got{})
	l.send("a", ether(broadcast, macA, "4"))
	l.want("from the new one", got{"b": "4", "c": "4"})
	in.Close()
}

func TestAttachErrors(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a")
	for _, tt := range []struct {
		name string
		cfg  func(*vswitch.PortConfig)
		want error
	}{
		{"a", func(c *vswitch.PortConfig) {}, vswitch.ErrPortExists},
		{"", func(c *vswitch.PortConfig) {}, vswitch.ErrBadName},
		{"sixteen-letters-", func(c *vswitch.PortConfig) {}, vswitch.ErrBadName},
		{"sp ace", func(c *vswitch.PortConfig) {}, vswitch.ErrBadName},
		{"b", func(c *vswitch.PortConfig) { c.Tag = 4095 }, vswitch.ErrBadVLAN},
		{"b", func(c *vswitch.PortConfig) { c.Trunks = []uint16{4096} }, vswitch.ErrBadVLAN},
		{"b", func(c *vswitch.PortConfig) { c.VLANMode = 77 }, vswitch.ErrBadVLAN},
		{"b", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{broadcast} }, vswitch.ErrBadMAC},
	} {
		cfg := vswitch.DefaultPortConfig(tt.name)
		tt.cfg(&cfg)
		if _, err := l.s.Attach(cfg, &vswitchtest.Recorder{}); !errors.Is(err, tt.want) {
			t.Errorf("Attach(%+v): %v, want %v", cfg, err, tt.want)
		}
	}
	l.add("b")
	if err := l.ports["b"].Reconfigure(vswitch.DefaultPortConfig("a")); !errors.Is(err, vswitch.ErrPortExists) {
		t.Errorf("another port's name: %v", err)
	}
}

func TestOnePortTooMany(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.s.LeaveIDs(1)
	a := l.add("last")
	if _, err := l.s.Attach(vswitch.DefaultPortConfig("more"), &vswitchtest.Recorder{}); !errors.Is(err, vswitch.ErrTooManyPorts) {
		t.Errorf("one too many: %v", err)
	}
	a.Detach()
	l.add("again")
}

func TestStaticEntriesMayFillTheTable(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 4})
	l.addAll("a", "b")
	for i := range 4 {
		l.send("b", ether(broadcast, vswitchtest.Station(i), ""))
	}
	for i := range 4 {
		if err := l.s.AddStatic(vswitchtest.Station(10+i), 0, "a"); err != nil {
			t.Error(err)
		}
	}
	if err := l.s.AddStatic(vswitchtest.Station(20), 0, "a"); !errors.Is(err, vswitch.ErrTableFull) {
		t.Errorf("a fifth entry in a table of 4: %v", err)
	}
	cfg := l.ports["b"].Config()
	cfg.MACs = []vswitch.MAC{vswitchtest.Station(20)}
	if err := l.ports["b"].Reconfigure(cfg); !errors.Is(err, vswitch.ErrTableFull) {
		t.Errorf("pinning: %v", err)
	}
	l.got()
	l.send("b", ether(broadcast, vswitchtest.Station(30), "x"))
	l.want("not learned, but forwarded", got{"a": "x"})
	if st := l.s.Stats(); st.Entries != 4 || st.Static != 4 || st.Full != 1 {
		t.Errorf("stats %+v, want 4 static entries, 1 full", st)
	}
}
