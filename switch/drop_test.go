package vswitch_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// attach attaches a port that the caller has made, and sets it up.
func (l *lab) attach(name string, p vswitch.Port, c *vswitch.Counters) {
	l.t.Helper()
	cfg := vswitch.DefaultPortConfig(name)
	cfg.Counters = c
	a, err := l.s.Attach(cfg, p)
	if err != nil {
		l.t.Fatal(err)
	}
	a.SetUp(true)
	l.ports[name] = &labPort{Attachment: a, Recorder: &vswitchtest.Recorder{}, in: a.NewInlet(), counters: c}
}

// Each stage says which frames of the batch it drops, why, and at which port.
func TestDropsNameTheirFrames(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Isolated = true })
	l.add("b").SetCaps(vswitch.Caps{MTU: 100})
	l.add("gone")
	l.add("iso", func(c *vswitch.PortConfig) { c.Isolated = true })
	for port, m := range map[string]vswitch.MAC{"b": macB, "iso": macC} {
		l.send(port, ether(broadcast, m, ""))
	}
	down := vswitchtest.Station(0xd)
	if err := l.s.AddFDB(vswitch.StaticEntry{MAC: down, Port: "gone"}); err != nil {
		t.Fatal(err)
	}
	l.ports["gone"].SetUp(false)
	for _, name := range []string{"b", "iso"} {
		cfg := l.ports[name].Config()
		cfg.Flood = false
		if err := l.ports[name].Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
	}
	in := l.ports["a"].in
	l.send("a",
		ether(macB, macA, "short enough"),
		ether(macB, broadcast, ""),
		ether(macC, macA, ""),
		ether(down, macA, ""),
		ether(vswitchtest.Station(0xe), macA, ""),
		ether(macB, macA, string(make([]byte, 101))),
		ether(down, macA, ""),
		ether(macB, vswitch.MAC{}, ""))
	want := []vswitch.Dropped{
		{Stage: "classify", Reason: "bad-source", Port: "a", Frames: []int{1, 7}},
		{Stage: "lookup", Reason: "policy", Port: "a", Frames: []int{2}},
		{Stage: "repair", Reason: "too-big", Port: "b", Frames: []int{5}},
		{Stage: "send", Reason: "port-down", Port: "gone", Frames: []int{3, 6}},
		{Stage: "flood", Reason: "no-destination", Port: "a", Frames: []int{4}},
	}
	if d := cmp.Diff(want, in.Dropped()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	l.drops("a", drops{"bad-source": 2, "policy": 1, "no-destination": 1})
	l.drops("b", drops{"too-big": 1})
	l.drops("gone", drops{"port-down": 2})

	l.ports["a"].SetUp(false)
	l.send("a", ether(macB, macA, "1"), ether(macB, macA, "2"))
	want = []vswitch.Dropped{{Stage: "admit", Reason: "source-down", Port: "a", Frames: []int{0, 1}}}
	if d := cmp.Diff(want, in.Dropped()); d != "" {
		t.Errorf("from a port that is down (-want +got):\n%s", d)
	}
	l.ports["a"].Detach()
	l.send("a", ether(macB, macA, "1"))
	want = []vswitch.Dropped{{Stage: "admit", Reason: "source-down", Frames: []int{0}}}
	if d := cmp.Diff(want, in.Dropped()); d != "" {
		t.Errorf("from a detached port (-want +got):\n%s", d)
	}
}

// A frame that repair drops is named by its place in the batch, also if the group of its
// destination does not contain the whole batch.
func TestRepairNamesTheFramesThatItLoses(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.ports["b"].SetCaps(vswitch.Caps{MTU: 100})
	l.send("b", ether(broadcast, macB, ""))
	l.send("c", ether(broadcast, macC, ""))
	long := string(make([]byte, 200))
	var batch [][]byte
	var want []int
	for i := range vswitch.MaxBatch {
		dst, payload := macB, ""
		if i%3 == 0 {
			dst = macC
		}
		if i%5 == 0 {
			payload = long
		}
		if i%3 != 0 && i%5 == 0 {
			want = append(want, i)
		}
		batch = append(batch, ether(dst, macA, payload))
	}
	l.send("a", batch...)
	got := l.ports["a"].in.Dropped()
	if d := cmp.Diff([]vswitch.Dropped{{Stage: "repair", Reason: "too-big", Port: "b", Frames: want}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// attachRefusing attaches a port that refuses frames at these places in each Transmit, from 1, and
// those for which it has no room.
func (l *lab) attachRefusing(name string, room int, refuses map[int]vswitch.DropReason) *refusingPort {
	l.t.Helper()
	c := new(vswitch.Counters)
	p := &refusingPort{room: room, refuses: refuses}
	p.Counters = c
	l.attach(name, p, c)
	return p
}

// Frames that a port refuses in Transmit are named with the port's reasons, and the switch counts
// them at that port. Other destinations of the same frames are not affected, and neither is what
// becomes of the frames when their source delivers them again.
func TestRefusedFramesAreNamed(t *testing.T) {
	type refuses = map[int]vswitch.DropReason
	full, absent, fault := vswitch.DropRingFull, vswitch.DropPageAbsent, vswitch.DropFault
	at := func(reason string, frames ...int) vswitch.Dropped {
		return vswitch.Dropped{Stage: "transmit", Reason: reason, Port: "b", Frames: frames}
	}
	for _, tt := range []struct {
		name    string
		room    int
		refuses refuses
		want    []vswitch.Dropped
		count   drops
	}{
		{"none", -1, nil, nil, nil},
		{"the last", 3, nil, []vswitch.Dropped{at("ring-full", 4)}, drops{"ring-full": 1}},
		{"all", 0, nil, []vswitch.Dropped{at("ring-full", 0, 2, 3, 4)}, drops{"ring-full": 4}},
		{"the first", -1, refuses{1: full}, []vswitch.Dropped{at("ring-full", 0)}, drops{"ring-full": 1}},
		{"in the middle", -1, refuses{2: absent, 3: absent}, []vswitch.Dropped{at("page-absent", 2, 3)}, drops{"page-absent": 2}},
		{"for several reasons", 1, refuses{1: absent, 2: fault, 3: absent},
			[]vswitch.Dropped{at("page-absent", 0, 3), at("memory-fault", 2)}, drops{"page-absent": 2, "memory-fault": 1}},
		{"one reason, with a gap", 2, refuses{1: full}, []vswitch.Dropped{at("ring-full", 0, 4)}, drops{"ring-full": 2}},
	} {
		for _, flags := range []uint8{0, vswitch.HdrDataValid} { // which repair removes
			t.Run(fmt.Sprintf("%s, flags %d", tt.name, flags), func(t *testing.T) {
				l := newLab(t, vswitch.Config{})
				l.addAll("a", "before")
				b := l.attachRefusing("b", tt.room, tt.refuses)
				l.add("behind")
				var batch []vswitch.Frame
				for i, dst := range []vswitch.MAC{broadcast, macA, broadcast, broadcast, broadcast} {
					f := vswitchtest.Frame(ether(dst, macA, fmt.Sprint(i)))
					f.Offload.Flags = flags
					batch = append(batch, f)
				}
				in := l.ports["a"].in
				in.Deliver(batch)
				want := []vswitch.Dropped{{Stage: "lookup", Reason: "own-port", Port: "a", Frames: []int{1}}}
				if d := cmp.Diff(append(want, tt.want...), in.Dropped()); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				l.drops("b", tt.count)
				l.drops("a", drops{"own-port": 1})
				l.want("others", got{"before": "0 2 3 4", "behind": "0 2 3 4"})

				b.room, b.refuses = -1, nil
				in.Deliver(batch)
				if d := cmp.Diff(want, in.Dropped()); d != "" {
					t.Errorf("once the port accepts all (-want +got):\n%s", d)
				}
				l.drops("b", tt.count)
			})
		}
	}
}

// A frame whose segments a port refuses is named once, and counted as the number of those segments,
// whichever Transmit they are in.
func TestRefusedSegmentsNameTheirFrame(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a")
	l.attachRefusing("b", -1, map[int]vswitch.DropReason{
		1: vswitch.DropNoFit, 5: vswitch.DropRingFull, 6: vswitch.DropRingFull, 18: vswitch.DropFault,
	})
	long := inEther(0x0800, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP, 0, 0,
		serialize(&layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload(make([]byte, 40*100)))))
	var batch []vswitch.Frame
	for i, b := range [][]byte{ether(broadcast, macA, ""), long, long, ether(broadcast, macA, "")} {
		batch = append(batch, vswitchtest.Frame(b))
		if i == 1 || i == 2 {
			batch[i].Offload = vswitch.Offload{
				Flags: vswitch.HdrNeedsCsum, GSOType: vswitch.GSOUDPL4, GSOSize: 100, CsumStart: 34, CsumOffset: 6,
			}
		}
	}
	in := l.ports["a"].in
	in.Deliver(batch)
	// Frame 0, 40 segments of frame 1 and 23 of frame 2 are in one Transmit; 17 segments of frame 2
	// and frame 3 are in the next.
	want := []vswitch.Dropped{
		{Stage: "transmit", Reason: "buffers-too-small", Port: "b", Frames: []int{0, 2}},
		{Stage: "transmit", Reason: "ring-full", Port: "b", Frames: []int{1, 2}},
		{Stage: "transmit", Reason: "memory-fault", Port: "b", Frames: []int{1, 3}},
	}
	if d := cmp.Diff(want, in.Dropped()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	l.drops("b", drops{"buffers-too-small": 2, "ring-full": 4, "memory-fault": 2})
}

// Copies for a mirror that the output refuses are named by stage mirror, and counted at the output
// and at the mirror; a copy that is too long for the output is counted at the mirror only. The
// frames themselves arrive.
func TestRefusedCopiesAreNamed(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	probe := l.attachRefusing("probe", -1, map[int]vswitch.DropReason{2: vswitch.DropNoFit})
	probe.SetCaps(vswitch.Caps{MTU: 100})
	l.mirror(vswitch.MirrorConfig{Name: "m", SelectDst: []string{"b"}, Output: "probe"})
	in := l.ports["a"].in
	long := strings.Repeat("0", 101)
	l.send("a", ether(broadcast, macA, "1"), ether(broadcast, broadcast, ""), ether(broadcast, macA, long),
		ether(broadcast, macA, "2"), ether(broadcast, macA, "3"))
	want := []vswitch.Dropped{
		{Stage: "classify", Reason: "bad-source", Port: "a", Frames: []int{1}},
		{Stage: "mirror", Reason: "buffers-too-small", Port: "probe", Frames: []int{3}},
	}
	if d := cmp.Diff(want, in.Dropped()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	l.want("the frames", got{"b": "1 " + long + " 2 3"})
	l.drops("probe", drops{"buffers-too-small": 1})
	if c := l.s.Mirrors()[0].Counters; c.Frames.Load() != 4 || c.Drops.Load() != 2 {
		t.Errorf("the mirror has counted %d copies, %d drops", c.Frames.Load(), c.Drops.Load())
	}
}

// A frame keeps the first reason for which it was refused, until that is asked for.
func TestRefusals(t *testing.T) {
	var f, g vswitch.Frame
	f.Refuse(vswitch.DropBadChain) // the first of all reasons
	vswitch.RefuseAll([]*vswitch.Frame{&f, &g}, vswitch.DropFault)
	if why, ok := f.Refusal(); !ok || why != vswitch.DropBadChain {
		t.Errorf("%v, %v", why, ok)
	}
	if why, ok := g.Refusal(); !ok || why != vswitch.DropFault {
		t.Errorf("%v, %v", why, ok)
	}
	if why, ok := f.Refusal(); ok {
		t.Errorf("refused for %v once more", why)
	}
}

// If more destinations drop frames than a batch stores drops, each drop is still counted once.
func TestManyDestinationsDrop(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a")
	const ports = 3*vswitch.MaxBatch + 5
	for i := range ports {
		l.add(fmt.Sprint("p", i)).SetCaps(vswitch.Caps{MTU: 100})
	}
	for range 2 {
		l.send("a", ether(broadcast, macA, string(make([]byte, 101))), ether(broadcast, macA, ""), ether(broadcast, broadcast, ""))
	}
	l.drops("a", drops{"bad-source": 2})
	for i := range ports {
		l.drops(fmt.Sprint("p", i), drops{"too-big": 2})
	}
}

type brokenPort struct{ vswitchtest.Recorder }

func (*brokenPort) Transmit([]*vswitch.Frame) int { panic("memory has gone") }

// If a Transmit panics, the drops before it are counted, and are not counted again.
func TestDropsBeforeAPanicAreCounted(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a")
	l.attach("b", &brokenPort{}, new(vswitch.Counters))
	for n := range uint64(2) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not pass through Deliver")
				}
			}()
			l.send("a", ether(broadcast, broadcast, ""), ether(broadcast, macA, ""))
		}()
		l.drops("a", drops{"bad-source": n + 1})
	}
}
