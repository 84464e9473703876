package vswitch_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// mirror makes these the mirrors.
func (l *lab) mirror(mirrors ...vswitch.MirrorConfig) {
	l.t.Helper()
	if _, err := l.s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: mirrors}); err != nil {
		l.t.Fatal(err)
	}
}

// A copy is cut to snaplen, wherever in the frame that is; the frame itself arrives whole.
func TestMirrorsCutCopies(t *testing.T) {
	raw := ether(macB, macA, strings.Repeat("0123456789", 40))
	for _, snaplen := range []int{14, 60, 128, 129, 200, len(raw) - 1, len(raw), len(raw) + 1} {
		for _, pieces := range []int{1, 2, 7} {
			t.Run(fmt.Sprint(snaplen, " ", pieces), func(t *testing.T) {
				l := newLab(t, vswitch.Config{})
				l.addAll("a", "b", "probe")
				l.mirror(vswitch.MirrorConfig{Name: "m", SelectDst: []string{"b"}, Output: "probe", Snaplen: snaplen})
				f := vswitchtest.Frame(raw)
				body := bytes.Join(f.Body, nil)
				f.Body = [][]byte{nil}
				for i := range pieces {
					f.Body = append(f.Body, body[i*len(body)/pieces:(i+1)*len(body)/pieces], nil)
				}
				f.Offload = vswitch.Offload{Flags: vswitch.HdrDataValid}
				l.ports["probe"].SetCaps(vswitch.Caps{Csum: true})
				l.ports["b"].SetCaps(vswitch.Caps{Csum: true})
				l.ports["a"].in.Deliver([]vswitch.Frame{f, f})
				want := raw[:min(snaplen, len(raw))]
				for _, s := range l.ports["probe"].Take() {
					if !bytes.Equal(s.Bytes, want) {
						t.Errorf("the copy is %d bytes long, want %d, or differs", len(s.Bytes), len(want))
					}
					if cut := snaplen < len(raw); (s.Offload == vswitch.Offload{}) != cut {
						t.Errorf("cut is %v, and the copy has %+v", cut, s.Offload)
					}
				}
				for _, s := range l.ports["b"].Take() {
					if !bytes.Equal(s.Bytes, raw) || s.Offload != f.Offload {
						t.Errorf("the frame arrives as %+v", s)
					}
				}
				if c := l.s.Mirrors()[0].Counters; c.Frames.Load() != 2 || c.Bytes.Load() != uint64(2*len(want)) || c.Drops.Load() != 0 {
					t.Errorf("counted %d frames, %d bytes, %d drops", c.Frames.Load(), c.Bytes.Load(), c.Drops.Load())
				}
			})
		}
	}
}

// The tags of copies are changed, and those of the frames are not: ports with each kind of VLAN
// settings get the same with mirrors and without.
func TestMirrorsLeaveFramesAlone(t *testing.T) {
	run := func(mirrors ...vswitch.MirrorConfig) string {
		l := newLab(t, vswitch.Config{})
		for i, mode := range []vswitch.VLANMode{
			vswitch.VLANAccess, vswitch.VLANTrunk, vswitch.VLANNativeTagged, vswitch.VLANNativeUntagged, vswitch.VLANTunnel,
		} {
			l.add(fmt.Sprint("p", i), func(c *vswitch.PortConfig) {
				c.VLANMode, c.Trunks = mode, []uint16{0, 5, 6}
				if mode != vswitch.VLANTrunk {
					c.Tag = 5
				}
			})
		}
		l.add("probe", func(c *vswitch.PortConfig) { c.Tag = 9 })
		l.add("far", func(c *vswitch.PortConfig) { c.Trunks = []uint16{900} })
		l.mirror(mirrors...)
		var out strings.Builder
		tag := func(vlan uint16) vswitchtest.Tag { return vswitchtest.Tag{TCI: vlan} }
		for i := range 5 {
			src := vswitchtest.Station(i)
			for _, dst := range []vswitch.MAC{broadcast, vswitchtest.Station((i + 1) % 5)} {
				l.send(fmt.Sprint("p", i), ether(dst, src, "1"), ether(dst, src, "2", tag(5)), ether(dst, src, "3", tag(0)), ether(dst, src, "4", tag(5), tag(6)))
			}
			for p := range 5 {
				for _, s := range l.ports[fmt.Sprint("p", p)].Take() {
					fmt.Fprintf(&out, "p%d to p%d: %x\n", i, p, s.Bytes)
				}
			}
		}
		if copies := len(l.ports["probe"].Take()) + len(l.ports["far"].Take()); (copies > 0) != (len(mirrors) > 0) {
			t.Errorf("%d copies with %d mirrors", copies, len(mirrors))
		}
		return out.String()
	}
	want := run()
	got := run(vswitch.MirrorConfig{Name: "m", SelectAll: true, Output: "probe", Snaplen: 20},
		vswitch.MirrorConfig{Name: "n", SelectAll: true, OutputVLAN: 900})
	if got != want {
		t.Errorf("without mirrors\n%s\nwith mirrors\n%s", want, got)
	}
}

// What the switch itself sends passes the egress filter of the port and the filter of the mirror
// like any frame, whatever these filters have decided about a frame before.
func TestFiltersOfFramesFromTheSwitch(t *testing.T) {
	l := newLab(t, vswitch.Config{Address: own, Mcast: vswitch.McastConfig{Snooping: true, Querier: vswitch.QuerierConfig{On: true}}})
	setFilters(t, l.s,
		vswitch.FilterConfig{Name: "igmp", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
			accepting("igmp", func(r *vswitch.FilterRule) { r.Protos = []uint8{2} }),
		}},
		vswitch.FilterConfig{Name: "mld", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
			accepting("mld", func(r *vswitch.FilterRule) { r.ICMPv6Types = []vswitch.ICMPType{{Type: 130, Code: vswitch.AnyCode}} }),
		}},
		vswitch.FilterConfig{Name: "arp", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
			accepting("arp", func(r *vswitch.FilterRule) { r.EtherTypes = []uint16{etherARP} }),
		}},
	)
	l.add("igmp", func(c *vswitch.PortConfig) { c.EgressFilter = "igmp" })
	l.add("mld", func(c *vswitch.PortConfig) { c.EgressFilter = "mld" })
	l.addAll("any", "probe")
	l.mirror(vswitch.MirrorConfig{Name: "m", SelectDst: []string{"any"}, Filter: "mld", Output: "probe"})
	for range 2 {
		l.advance(31 * time.Second)
		l.wantQueries("filtered", "igmp", general4)
		l.wantQueries("filtered", "mld", general6)
		l.wantQueries("not filtered", "any", general4, general6)
		l.wantQueries("mirrored", "probe", general6)
	}
}

// Replies on behalf of other stations pass filters and mirrors as well, and leave what these have
// found out about the batch alone.
func TestFiltersOfNeighborReplies(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	arp := accepting("arp", func(r *vswitch.FilterRule) { r.EtherTypes = []uint16{etherARP} })
	setFilters(t, l.s,
		vswitch.FilterConfig{Name: "all", Default: vswitch.FilterAccept},
		vswitch.FilterConfig{Name: "arp", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{arp}},
		vswitch.FilterConfig{Name: "copied", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{arp}},
	)
	l.add("owner", suppressed)
	l.send("owner", message(macA, "claims", "10.0.0.1", ""), message(macA, "claims", "fd00::1", ""))
	l.add("asker", func(c *vswitch.PortConfig) {
		c.IngressFilter, c.EgressFilter, c.EgressRate, c.EgressBurst = "all", "arp", 1e6, 102
	})
	l.add("other", func(c *vswitch.PortConfig) { c.EgressFilter = "arp" })
	l.addAll("third", "probe")
	l.mirror(vswitch.MirrorConfig{
		Name: "m", SelectSrc: []string{"asker"}, SelectDst: []string{"asker", "other", "third"}, Filter: "copied", Output: "probe",
	})

	ask4, ask6 := message(macB, "asks", "10.0.0.1", "10.0.0.2"), message(macB, "asks", "fd00::1", "fd00::2")
	l.send("asker", message(macB, "asks", "10.0.0.9", "10.0.0.2"), ether(broadcast, macB, "payload"), ask6, ask4, ask4, ask4, ask6, ask4, ask4)
	if n := len(l.ports["asker"].Take()); n != 3 {
		t.Errorf("%d replies, want the three for which there are tokens", n)
	}
	l.drops("asker", drops{"filter": 2, "egress-rate": 2})
	if n := len(l.ports["other"].Take()); n != 6 {
		t.Errorf("%d requests for addresses behind the owner's port, want all six that are ARP", n)
	}
	l.drops("other", drops{"filter": 3})
	if n := len(l.ports["probe"].Take()); n != 9 {
		t.Errorf("%d copies, want those of six requests and three replies", n)
	}
	f := l.s.Filters()[2]
	if n, m := f.Rules[0].Frames.Load(), f.Default.Frames.Load(); n != 9 || m != 3 {
		t.Errorf("the mirror's filter has seen %d ARP packets and %d other frames, want 9 and 3", n, m)
	}
}

// After the first batches, mirrors do not allocate.
func TestMirrorsDoNotAllocate(t *testing.T) {
	s, ins := benchSwitch(t, 5, nil)
	setFilters(t, s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterAccept})
	if _, err := s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: []vswitch.MirrorConfig{
		{Name: "m", SelectSrc: []string{"p0"}, Output: "p4", Snaplen: 40},
		{Name: "n", SelectDst: []string{"p1"}, Filter: "f", OutputVLAN: 7},
	}}); err != nil {
		t.Fatal(err)
	}
	frames := batchOf(vswitch.MaxBatch, 0, func(i int) vswitch.MAC { return vswitchtest.Station(1 + i%3) })
	deliverWithoutAllocating(t, ins[0], frames)
}

// Mirrors change, and their outputs come and go, while frames are mirrored: nothing is sent to a
// port that is detached, and at the end every copy has been counted. It is for the race detector.
func TestMirrorsWhilePortsChange(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	var stop atomic.Bool
	var traffic sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		in := l.ports[name].NewInlet()
		traffic.Go(func() {
			for !stop.Load() {
				in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macA, "1")), vswitchtest.Frame(ether(broadcast, macB, "2"))})
				runtime.Gosched()
			}
		})
	}
	for i := range 200 {
		g := &gate{counters: new(vswitch.Counters)}
		cfg := vswitch.DefaultPortConfig("probe")
		cfg.Counters = g.counters
		probe, err := l.s.Attach(cfg, g)
		if err != nil {
			t.Fatal(err)
		}
		probe.SetUp(true)
		l.mirror(vswitch.MirrorConfig{Name: fmt.Sprint("m", i), SelectAll: true, Output: "probe", Snaplen: i % 2 * 100})
		probe.NewInlet().Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macC, "3"))})
		before := g.counters.TxFrames.Load() // floods from before it was an output
		for l.s.Mirrors()[0].Counters.Frames.Load() == 0 {
			runtime.Gosched()
		}
		m := l.s.Mirrors()[0].Counters
		probe.Detach()
		g.gone.Store(true)
		if n := m.Frames.Load() + before; g.counters.TxFrames.Load() > n {
			t.Errorf("%d frames were sent to the output, %d copies were counted", g.counters.TxFrames.Load(), n)
		}
		if n := g.late.Load(); n != 0 {
			t.Errorf("Transmit was called %d times after Detach", n)
		}
	}
	stop.Store(true)
	traffic.Wait()
	if l.where(macC, 0) != "" {
		t.Error("an address was learned from an output")
	}
}
