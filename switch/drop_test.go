package vswitch_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A narrowPort accepts only the first frames of each Transmit, like a port whose ring is nearly
// full.
type narrowPort struct {
	vswitchtest.Recorder
	room int
}

func (p *narrowPort) Transmit(frames []*vswitch.Frame) int {
	n := min(p.room, len(frames))
	p.Recorder.Transmit(frames[:n])
	p.Counters.Drop(vswitch.DropRingFull, len(frames)-n)
	return n
}

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
	if err := l.s.AddStatic(down, 0, "gone"); err != nil {
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

// The port counts the frames that its Transmit does not accept. The switch records that some or all
// frames of the group were dropped, and does not count them again.
func TestUntakenFramesAreNoted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags uint8 // of the frames' Offload
		room  int
		lost  bool
	}{
		{"all taken", 0, 3, false},
		{"some taken", 0, 2, true},
		{"none taken", 0, 0, true},
		{"some of what was repaired", vswitch.HdrDataValid, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.add("a")
			c := new(vswitch.Counters)
			p := &narrowPort{room: tt.room}
			p.Counters = c
			l.attach("b", p, c)
			var batch []vswitch.Frame
			for _, dst := range []vswitch.MAC{broadcast, macA, broadcast, broadcast} {
				f := vswitchtest.Frame(ether(dst, macA, ""))
				f.Offload.Flags = tt.flags
				batch = append(batch, f)
			}
			l.ports["a"].in.Deliver(batch)
			want := []vswitch.Dropped{{Stage: "lookup", Reason: "own-port", Port: "a", Frames: []int{1}}}
			if tt.lost {
				want = append(want, vswitch.Dropped{Stage: "transmit", Port: "b", Frames: []int{0, 2, 3}})
			}
			if d := cmp.Diff(want, l.ports["a"].in.Dropped()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if n := c.Drops(vswitch.DropRingFull); n != uint64(3-tt.room) || len(c.DropsByName()) > 1 {
				t.Errorf("drops %v", c.DropsByName())
			}
		})
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
