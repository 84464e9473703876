package vswitch_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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

// After the first batches, mirrors do not allocate.
func TestMirrorsDoNotAllocate(t *testing.T) {
	s, ins := benchSwitch(t, 5, nil)
	if _, err := s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: []vswitch.MirrorConfig{
		{Name: "m", SelectSrc: []string{"p0"}, Output: "p4", Snaplen: 40},
		{Name: "n", SelectDst: []string{"p1"}, OutputVLAN: 7},
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
