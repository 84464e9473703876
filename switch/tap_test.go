package vswitch_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A tapRecorder is a Tap that keeps what it is shown as lines: place, payloads, and why frames are
// dropped.
type tapRecorder struct {
	mu    sync.Mutex
	lines []string
	raw   [][]byte
}

func (r *tapRecorder) Show(at vswitch.Place, frames []*vswitch.Frame, _ *[vswitch.MaxFrameLen]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := at.Port + " in"
	if at.Out {
		line = at.Port + " out"
	}
	for _, f := range frames {
		b := vswitchtest.Bytes(f)
		r.raw = append(r.raw, b)
		line += " " + payload(b)
		if b[12] == 0x81 || b[12] == 0x88 && b[13] == 0xa8 {
			line += fmt.Sprintf("@%x", b[12:16])
		}
		if len(b) != f.Len {
			line += " (wrong length)"
		}
	}
	if d := at.Drop; d != nil {
		line += fmt.Sprintf(": %s, stage %s, from %q", d.Reason, d.Stage, d.From)
		if d.Filter != "" {
			line += fmt.Sprintf(", filter %s rule %s", d.Filter, d.Rule)
		}
	}
	r.lines = append(r.lines, line)
}

func (r *tapRecorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines, r.raw = nil, nil
	return lines
}

// tap adds a Tap that is removed when the test ends.
func (l *lab) tap(cfg vswitch.TapConfig) *tapRecorder {
	l.t.Helper()
	r := new(tapRecorder)
	remove, err := l.s.AddTap(cfg, r)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(remove)
	return r
}

func (r *tapRecorder) want(t testing.TB, what string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, r.take()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

var passed = vswitch.TapConfig{AllPorts: true, In: true, Out: true}
var dropped = vswitch.TapConfig{AllPorts: true, In: true, Out: true, Drops: true}

// Frames are shown as they are on the wire of the port: with the tags with which they come and go.
func TestTapsSeeTheTagsOfThePort(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("acc", func(c *vswitch.PortConfig) { c.Tag = 10 })
	l.add("tagged", func(c *vswitch.PortConfig) { c.VLANMode, c.Trunks = vswitch.VLANTrunk, []uint16{10} })
	l.add("tunnel", func(c *vswitch.PortConfig) { c.VLANMode, c.Tag = vswitch.VLANTunnel, 10 })
	tap := l.tap(passed)
	l.send("acc", ether(broadcast, macA, "1"), ether(broadcast, macA, "2"))
	tap.want(t, "from an access port", "acc in 1 2", "tunnel out 1 2", "tagged out 1@8100000a 2@8100000a")
	l.send("tagged", ether(broadcast, macB, "3", vswitchtest.Tag{TCI: 0x600a}))
	tap.want(t, "from a trunk", "tagged in 3@8100600a", "acc out 3", "tunnel out 3")
	l.send("tunnel", ether(macB, macC, "4", vswitchtest.Tag{TCI: 7}))
	tap.want(t, "from a tunnel", "tunnel in 4@81000007", "tagged out 4@88a8000a")
}

// All that a port sends is shown, also what is dropped then; what a port has not accepted is not.
func TestTapsSeeWhatPassesAPort(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	full := &refusingPort{room: -1, refuses: map[int]vswitch.DropReason{2: vswitch.DropRingFull}}
	l.attach("full", full, new(vswitch.Counters))
	l.send("full", ether(broadcast, macC, "hello"))
	l.send("b", ether(broadcast, macB, "hello"))
	tap, a := l.tap(passed), l.tap(vswitch.TapConfig{Ports: []string{"a"}, In: true})
	l.send("a", ether(macC, macA, "1"), ether(macC, macA, "2"), ether(macB, vswitch.MAC{}, "3"), ether(macC, macA, "4"))
	tap.want(t, "refused by the port", "a in 1 2 3 4", "full out 1 4")
	a.want(t, "one port, one direction", "a in 1 2 3 4")
	full.SetCaps(vswitch.Caps{MTU: 50}) // through repair
	l.send("a", ether(macC, macA, "1"), ether(macC, macA, strings.Repeat("x", 60)), ether(macC, macA, "2"), ether(macC, macA, "3"))
	tap.want(t, "dropped by repair, and refused by the port", "a in 1 "+strings.Repeat("x", 60)+" 2 3", "full out 1 3")
	a.take()
	l.ports["a"].SetUp(false)
	l.send("a", ether(macC, macA, "down"))
	tap.want(t, "the port is down", "a in down")
	l.ports["a"].SetUp(true)
	a.take()
	l.send("b", ether(macA, macB, "4"))
	a.want(t, "the other direction")
}

// Dropped frames are shown with reason, stage, rule and source, at the port that counts them, and
// with the tags that they have there.
func TestTapsSeeDrops(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	setFilters(t, l.s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterAccept, Rules: []vswitch.FilterRule{
		{Name: "no", Action: vswitch.FilterDrop, PCPs: []vswitch.Range{{First: 3, Last: 3}}},
	}})
	l.add("a", func(c *vswitch.PortConfig) { c.Tag, c.IngressFilter = 10, "f" })
	l.add("b").SetCaps(vswitch.Caps{MTU: 100})
	l.add("c", func(c *vswitch.PortConfig) { c.Tag, c.EgressFilter, c.MACs = 10, "f", []vswitch.MAC{macC} })
	l.add("gone", func(c *vswitch.PortConfig) { c.Tag, c.MACs = 10, []vswitch.MAC{{2}} }).SetUp(false)
	l.send("b", ether(broadcast, macB, "hello", vswitchtest.Tag{TCI: 10}))
	tap := l.tap(dropped)
	in, out := l.tap(vswitch.TapConfig{Ports: []string{"a"}, In: true, Drops: true}), l.tap(vswitch.TapConfig{Ports: []string{"a"}, Out: true, Drops: true})
	long := strings.Repeat("x", 101)
	prio := vswitchtest.Tag{TCI: 3 << 13}
	l.send("a", ether(macB, macA, "1", prio), ether(broadcast, macA, "2"), ether(macB, macA, long), ether(vswitch.MAC{2}, macA, "4"), ether(macB, macA, "5", prio))
	filtered := `a in 1@81006000 5@81006000: filter, stage filter, from "a", filter f rule no`
	tap.want(t, "filter, MTU and a port that is down", filtered,
		`gone out 4: port-down, stage send, from "a"`,
		"b out "+long+`@8100000a: too-big, stage repair, from "a"`)
	in.want(t, "in", filtered)
	out.want(t, "out")
	l.send("b", ether(macC, macB, "6", vswitchtest.Tag{TCI: 3<<13 | 10}), ether(broadcast, macB, "7", vswitchtest.Tag{TCI: 3<<13 | 10}))
	tap.want(t, "an egress filter", `c out 6 7: filter, stage filter, from "b", filter f rule no`)
}

// A frame that is dropped on the way to one port is shown with the tags of that port, whatever tags
// it was sent to others with since.
func TestTapsSeeDropsInTheirShape(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Tag = 10 })
	tagged := func(c *vswitch.PortConfig) { c.VLANMode, c.Trunks = vswitch.VLANTrunk, []uint16{10} }
	access := func(c *vswitch.PortConfig) { c.Tag = 10 }
	for i, shape := range []func(*vswitch.PortConfig){access, tagged, access, tagged} {
		p := l.add(fmt.Sprint("p", i), shape)
		if i < 2 {
			p.SetCaps(vswitch.Caps{MTU: 20})
		}
	}
	tap := l.tap(dropped)
	l.send("a", ether(broadcast, macA, "too long for two"), ether(broadcast, macA, "short"), ether(broadcast, macA, "too long for these"))
	tap.want(t, "flooded")
	l.send("a", ether(broadcast, macA, "too long for two ports"))
	tap.want(t, "flooded", `p0 out too long for two ports: too-big, stage repair, from "a"`,
		`p1 out too long for two ports@8100000a: too-big, stage repair, from "a"`)
}

// Replies of the switch are shown where they go.
func TestTapsSeeReplies(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("vm", suppressed)
	l.add("peer")
	l.send("vm", message(macA, "claims", "10.0.0.1", ""))
	tap := l.tap(vswitch.TapConfig{Ports: []string{"peer"}, Out: true})
	l.ports["peer"].Take()
	l.send("peer", message(macB, "asks", "10.0.0.1", "10.0.0.2"))
	sent := l.ports["peer"].Take()
	if len(sent) != 1 || len(tap.raw) != 1 || !bytes.Equal(sent[0].Bytes, tap.raw[0]) {
		t.Errorf("sent %x, shown %x", sent, tap.raw)
	}
	// The request is not shown in the place of a copy of the reply that is dropped.
	counters := new(vswitch.Counters)
	l.attach("probe", &refusingPort{room: 0}, counters)
	l.mirror(vswitch.MirrorConfig{Name: "m", SelectDst: []string{"peer"}, Output: "probe"})
	drops := l.tap(dropped)
	l.send("peer", message(macB, "asks", "10.0.0.1", "10.0.0.2"))
	if n := counters.Drops(vswitch.DropRingFull); n != 1 || len(drops.raw) != 0 {
		t.Errorf("%d copies are dropped, and %x is shown", n, drops.raw)
	}
}

// Copies that mirrors make are shown where they go.
func TestTapsSeeCopies(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	l.add("probe", func(c *vswitch.PortConfig) { c.Tag = 3 })
	l.mirror(vswitch.MirrorConfig{Name: "m", SelectSrc: []string{"a"}, Output: "probe", Snaplen: 16})
	tap := l.tap(passed)
	l.send("a", ether(broadcast, macA, "12345"))
	tap.want(t, "a mirror", "a in 12345", "probe out 12", "b out 12345")
	probe := &refusingPort{room: 0}
	l.ports["probe"].Detach()
	l.attach("probe", probe, new(vswitch.Counters))
	drops := l.tap(dropped)
	l.send("a", ether(broadcast, macA, "67890"))
	tap.want(t, "a mirror whose output is full", "a in 67890", "b out 67890")
	drops.want(t, "a mirror whose output is full", `probe out 67890: ring-full, stage mirror, from "a"`)
}

// A Tap is shown frames of ports that are added after it, and nothing after its removal.
func TestTapsFollowPorts(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	all, b := new(tapRecorder), new(tapRecorder)
	removeAll, err := l.s.AddTap(passed, all)
	if err != nil {
		t.Fatal(err)
	}
	removeB, err := l.s.AddTap(vswitch.TapConfig{Ports: []string{"b"}, In: true, Out: true}, b)
	if err != nil {
		t.Fatal(err)
	}
	l.add("c")
	l.ports["b"].Detach()
	l.add("b")
	l.send("c", ether(broadcast, macC, "1"))
	all.want(t, "a port that is new", "c in 1", "a out 1", "b out 1")
	b.want(t, "a port that is back", "b out 1")
	removeAll()
	l.send("c", ether(broadcast, macC, "2"))
	all.want(t, "after the removal")
	b.want(t, "the other one", "b out 2")
	removeB()
	l.send("c", ether(broadcast, macC, "3"))
	b.want(t, "after the removal")
}

func TestTapsAreLimited(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a")
	if _, err := l.s.AddTap(vswitch.TapConfig{Ports: []string{"a", "x"}}, new(tapRecorder)); !errors.Is(err, vswitch.ErrNoPort) || !strings.Contains(err.Error(), "x") {
		t.Errorf("a port that does not exist: %v", err)
	}
	var removes []func()
	for range vswitch.MaxTaps {
		remove, err := l.s.AddTap(passed, new(tapRecorder))
		if err != nil {
			t.Fatal(err)
		}
		removes = append(removes, remove)
	}
	if _, err := l.s.AddTap(passed, new(tapRecorder)); !errors.Is(err, vswitch.ErrTooManyTaps) {
		t.Errorf("one more: %v", err)
	}
	removes[3]()
	remove, err := l.s.AddTap(passed, new(tapRecorder))
	if err != nil {
		t.Errorf("one less, then one more: %v", err)
	}
	removes[3] = remove
	for _, remove := range slices.Backward(removes) {
		remove()
	}
}

// A port that is captured costs no allocation either.
func TestShowingFramesDoesNotAllocate(t *testing.T) {
	for _, cfg := range []vswitch.TapConfig{passed, dropped} {
		s, ins := benchSwitch(t, 9, func(i int, c *vswitch.PortConfig) {
			if i%2 == 0 {
				c.Tag = 10
			} else {
				c.VLANMode, c.Trunks = vswitch.VLANTrunk, []uint16{10}
			}
		})
		a, err := s.Attach(vswitch.DefaultPortConfig("full"), &fullPort{})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		remove, err := s.AddTap(cfg, countingTap{})
		if err != nil {
			t.Fatal(err)
		}
		frames := batchOf(vswitch.MaxBatch, 0, func(i int) vswitch.MAC {
			return []vswitch.MAC{vswitchtest.Broadcast, vswitchtest.Station(i % 9), {1, 0x80, 0xc2}}[i%3]
		})
		deliverWithoutAllocating(t, ins[0], frames)
		remove()
	}
}

// A countingTap reads what it is shown.
type countingTap struct{}

func (countingTap) Show(at vswitch.Place, frames []*vswitch.Frame, scratch *[vswitch.MaxFrameLen]byte) {
	for _, f := range frames {
		copy(scratch[:], f.Head)
	}
}
