package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// loopLab is a switch that detects loops.
func loopLab(t testing.TB) *lab {
	return newLab(t, vswitch.Config{Address: switchAddress, Loop: vswitch.LoopConfig{Detect: true}})
}

func uplinkRole(c *vswitch.PortConfig) { c.Role = vswitch.RoleUplink }

// probesOf has a station appear at one port after another, and returns the probe that each of these
// ports is sent because of that.
func (l *lab) probesOf(names ...string) map[string][]byte {
	l.t.Helper()
	for _, n := range names {
		l.send(n, ether(broadcast, macC, ""))
	}
	// Each of them is sent one at least because of its own frames, the first because of the
	// others'.
	l.send(names[0], ether(broadcast, macC, ""))
	probes := make(map[string][]byte)
	for name, p := range l.ports {
		for _, s := range p.Take() {
			if isProbe(s.Bytes) {
				probes[name] = s.Bytes
			}
		}
	}
	for _, n := range names {
		if probes[n] == nil {
			l.t.Fatalf("%s was not sent a probe", n)
		}
	}
	return probes
}

// blockedPorts returns the names of the ports that are blocked, and of the other ports of their
// loops.
func (l *lab) blockedPorts() string {
	var list []string
	for _, p := range l.s.Ports() {
		if p.Loop != nil {
			list = append(list, p.Config.Name+"/"+p.Loop.Other)
		}
	}
	return strings.Join(list, " ")
}

func (l *lab) wantBlocked(what, want string) {
	l.t.Helper()
	if got := l.blockedPorts(); got != want {
		l.t.Errorf("%s: blocked are [%s], want [%s]", what, got, want)
	}
}

// wantIgnored checks that a port has sent a number of probes that show nothing.
func (l *lab) wantIgnored(port string, want uint64) {
	l.t.Helper()
	c := l.ports[port].counters
	if n := c.Loops()["ignored"]; n != want {
		l.t.Errorf("%d probes from %s are ignored, want %d", n, port, want)
	}
	if n := c.DropsByName()["loop-probe"]; n != want {
		l.t.Errorf("%d probes from %s are dropped, want %d", n, port, want)
	}
}

// A probe is a frame that bridges relay, and long enough for a wire, with the tag of its VLAN.
func TestProbeOnTheWire(t *testing.T) {
	l := loopLab(t)
	l.add("access", uplinkRole, func(c *vswitch.PortConfig) { c.Tag = 7 })
	l.add("trunk", uplinkRole)
	l.send("access", ether(broadcast, macC, ""))
	l.send("trunk", ether(broadcast, macC, "", vswitchtest.Tag{TCI: 7}))
	for name, tagged := range map[string]bool{"access": false, "trunk": true} {
		sent := l.ports[name].Take()
		i := slices.IndexFunc(sent, func(s vswitchtest.Sent) bool { return isProbe(s.Bytes) })
		if i < 0 {
			t.Fatalf("%s was not sent a probe", name)
		}
		p := gopacket.NewPacket(sent[i].Bytes, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if d := eth.DstMAC; d[0]&3 != 3 || d[0] == 0x33 {
			t.Errorf("%s: sent to %s, not a locally administered group", name, d)
		}
		if eth.SrcMAC.String() != switchAddress.String() {
			t.Errorf("%s: sent from %s", name, eth.SrcMAC)
		}
		etype, length := eth.EthernetType, len(sent[i].Bytes)
		if q, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok != tagged || ok && q.VLANIdentifier != 7 {
			t.Errorf("%s: a tag %v, want %v", name, q, tagged)
		} else if ok {
			etype, length = q.Type, length-4
		}
		if etype != experimental || length != 60 {
			t.Errorf("%s: type %#x, %d bytes", name, uint16(etype), length)
		}
	}
}

// Nobody but the switch can make a probe of a port: whatever is changed in one, it shows nothing.
func TestForgedProbe(t *testing.T) {
	l := loopLab(t)
	l.addAll("mallory", "vm")
	l.add("lan", uplinkRole)
	mine := l.probesOf("mallory", "vm", "lan")["mallory"]
	n := uint64(0)
	for i := 14; i < 14+32; i++ {
		if i == 17 {
			continue // no field
		}
		for bit := range 8 {
			forged := slices.Clone(mine)
			forged[i] ^= 1 << bit
			l.send("mallory", forged)
			n++
		}
	}
	for length := 14; length < 14+32; length++ {
		l.send("mallory", mine[:length])
		n++
	}
	// With another inner tag, the frame is in the VLAN of the probe, and something else.
	l.send("mallory", slices.Concat(mine[:12], []byte{0x81, 0, 0, 0, 0x81, 0, 0, 0}, mine[12:]))
	l.wantBlocked("forged", "")
	l.wantIgnored("mallory", n+1)
	l.want("forged", got{})
}

// Probes of another switch with the same address show nothing: its key is another one.
func TestProbeOfAnotherSwitch(t *testing.T) {
	other := loopLab(t)
	other.addAll("vm", "vm2")
	theirs := other.probesOf("vm", "vm2")["vm"]
	l := loopLab(t)
	l.addAll("vm", "vm2")
	l.send("vm", theirs)
	l.wantBlocked("from another switch", "")
	l.wantIgnored("vm", 1)
}

// A guest that sends a probe of its own port again blocks its own port, and that for as long as the
// probe is fresh.
func TestReplayedProbe(t *testing.T) {
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{{0, "mallory/mallory"}, {5 * time.Second, "mallory/mallory"}, {6 * time.Second, ""}, {time.Hour, ""}} {
		t.Run(tt.age.String(), func(t *testing.T) {
			l := loopLab(t)
			l.addAll("mallory", "vm")
			l.add("lan", uplinkRole)
			mine := l.probesOf("mallory", "vm", "lan")["mallory"]
			l.advance(tt.age)
			l.send("mallory", mine)
			l.wantBlocked("replayed", tt.want)
		})
	}
}

// A probe that is relayed to another port blocks the port by which it comes in, or a guest's rather
// than an uplink: never a port that has no part in it.
func TestRelayedProbe(t *testing.T) {
	for _, tt := range []struct{ of, by, want string }{
		{"mallory", "accomplice", "accomplice/mallory"},
		{"lan", "mallory", "mallory/lan"},
		{"mallory", "lan", "mallory/lan"},
		{"br0", "mallory", "mallory/br0"},
		{"mallory", "br0", "mallory/br0"},
		{"br0", "lan", "br0/lan"},
		{"vm", "mallory", "mallory/vm"},
		{"lan", "lan", ""},
		{"br0", "br0", ""},
		{"lan", "wan", "wan/lan"},
		{"wan", "lan", "wan/lan"},
	} {
		t.Run(tt.of+" by "+tt.by, func(t *testing.T) {
			l := loopLab(t)
			l.addAll("mallory", "accomplice", "vm")
			l.add("lan", uplinkRole)
			l.add("wan", uplinkRole)
			l.add("br0", func(c *vswitch.PortConfig) { c.Role = vswitch.RoleHost })
			probes := l.probesOf("mallory", "accomplice", "vm", "lan", "wan", "br0")
			l.send(tt.by, probes[tt.of])
			l.wantBlocked("relayed", tt.want)

			// No number of probes has an effect beyond that.
			for range 100 {
				l.send(tt.by, probes[tt.of])
			}
			l.wantBlocked("relayed often", tt.want)
		})
	}
}

// A probe counts in its VLAN only.
func TestProbeInAnotherVLAN(t *testing.T) {
	l := loopLab(t)
	l.addAll("vm1", "vm2")
	tag := func(v uint16) vswitchtest.Tag { return vswitchtest.Tag{TCI: v} }
	l.send("vm1", ether(broadcast, macC, "", tag(7)))
	l.send("vm2", ether(broadcast, macC, "", tag(7)))
	i := -1
	sent := l.ports["vm1"].Take()
	if i = slices.IndexFunc(sent, func(s vswitchtest.Sent) bool { return isProbe(s.Bytes) }); i < 0 {
		t.Fatal("no probe")
	}
	p := sent[i].Bytes
	other := slices.Clone(p)
	binary.BigEndian.PutUint16(other[14:], 8)
	l.send("vm2", other)
	l.send("vm2", slices.Concat(p[:12], p[16:]))
	l.wantBlocked("in other VLANs", "")
	l.wantIgnored("vm2", 2)
	l.send("vm2", p)
	l.wantBlocked("in its own", "vm2/vm1")
}

// The probe of a port that has been detached shows nothing, not even if a new port has its id.
func TestProbeOfADetachedPort(t *testing.T) {
	l := loopLab(t)
	l.addAll("mallory", "vm")
	probe := l.probesOf("vm", "mallory")["vm"]
	l.ports["vm"].Detach()
	l.send("mallory", probe)
	l.add("vm")
	l.send("mallory", probe)
	l.wantBlocked("of a detached port", "")
	l.wantIgnored("mallory", 2)

	probe = l.probesOf("vm", "mallory")["vm"]
	l.send("mallory", probe)
	l.wantBlocked("of the new one", "mallory/vm")
}

// The probe of a port that is down shows nothing.
func TestProbeOfAPortThatIsDown(t *testing.T) {
	l := loopLab(t)
	l.addAll("mallory", "vm")
	probe := l.probesOf("vm", "mallory")["vm"]
	l.ports["vm"].SetUp(false)
	l.send("mallory", probe)
	l.wantBlocked("of a port that is down", "")
	l.wantIgnored("mallory", 1)
}

// A guest that is given the probes at the end of an uplink's block does not prolong the block: that
// takes a loop between uplinks.
func TestAGuestCannotProlongTheBlockOfAnUplink(t *testing.T) {
	l := loopLab(t)
	l.add("mallory")
	l.add("lan", uplinkRole)
	l.add("wan", uplinkRole)
	probes := l.probesOf("lan", "wan")
	l.send("lan", probes["wan"])
	l.wantBlocked("a loop between uplinks", "wan/lan")
	l.advance(27 * time.Second)
	for _, s := range l.ports["wan"].Take() {
		if isProbe(s.Bytes) {
			l.send("mallory", s.Bytes)
		}
	}
	l.wantBlocked("mallory relays", "mallory/wan wan/lan")
	l.advance(3 * time.Second)
	l.wantBlocked("at the end", "mallory/wan")
}

// A flood of forged probes has no effect and costs no memory.
func TestFloodOfProbes(t *testing.T) {
	l := loopLab(t)
	l.addAll("mallory", "vm")
	forged := l.probesOf("mallory", "vm")["mallory"]
	forged[40] ^= 1
	frames := make([]vswitch.Frame, vswitch.MaxBatch)
	for i := range frames {
		frames[i] = vswitchtest.Frame(forged)
	}
	deliverWithoutAllocating(t, l.ports["mallory"].in, frames)
	l.wantBlocked("a flood", "")
	l.want("a flood", got{})
}

// Once an inlet has sent probes, it sends others, and takes them back, without allocating.
func TestProbesDoNotAllocate(t *testing.T) {
	var nanos int64
	l := newLab(t, vswitch.Config{Loop: vswitch.LoopConfig{Detect: true}, Nanotime: func() int64 { return nanos }})
	sink := func(name string) *vswitch.Inlet {
		cfg := vswitch.DefaultPortConfig(name)
		cfg.Counters = new(vswitch.Counters)
		a, err := l.s.Attach(cfg, &vswitchtest.Sink{Counters: cfg.Counters})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		l.ports[name] = &labPort{Attachment: a, counters: cfg.Counters}
		return a.NewInlet()
	}
	a, b := sink("a"), sink("b")
	frames := batchOf(vswitch.MaxBatch, 1, func(int) vswitch.MAC { return broadcast })
	pristine := slices.Clone(frames)
	deliver := func(in *vswitch.Inlet) {
		copy(frames, pristine)
		in.Deliver(frames)
	}
	if n := testing.AllocsPerRun(100, func() {
		nanos += int64(time.Second)
		deliver(a)
		deliver(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := l.ports["a"].counters.Loops()["probes"]; n < 100 {
		t.Errorf("only %d probes were sent", n)
	}
}

// Two switches that are connected by two cables may each block another cable. They do not try them
// again at the same time, so that one cable soon carries frames, and goes on to.
func TestTwoSwitchesWithTwoCables(t *testing.T) {
	var labs [2]*lab
	for i := range labs {
		labs[i] = newLab(t, vswitch.Config{
			Address: vswitch.MAC{0xfe, 0, 0, 0, byte(100 * i), 0}, Loop: vswitch.LoopConfig{Detect: true},
		})
		labs[i].add("p1", uplinkRole)
		labs[i].add("p2", uplinkRole)
		labs[i].add("vm")
	}
	// The cables are crossed: p1 of one switch is connected to p2 of the other.
	peer := map[string]string{"p1": "p2", "p2": "p1"}
	frames := 0
	carry := func() {
		for moved := true; moved && frames < enough; {
			moved = false
			for i, l := range labs {
				for _, name := range []string{"p1", "p2"} {
					for _, s := range l.ports[name].Take() {
						labs[1-i].send(peer[name], s.Bytes)
						moved = true
						frames++
					}
				}
			}
		}
	}
	works := func() bool {
		labs[0].send("vm", ether(broadcast, macA, "hello"))
		carry()
		defer labs[0].ports["vm"].Take()
		return slices.ContainsFunc(labs[1].ports["vm"].Take(), func(s vswitchtest.Sent) bool { return bytes.Contains(s.Bytes, []byte("hello")) })
	}
	works()
	if labs[0].blockedPorts() == "" || labs[1].blockedPorts() == "" {
		t.Fatalf("blocked are [%s] and [%s]: this is not about the test's subject", labs[0].blockedPorts(), labs[1].blockedPorts())
	}
	worked := 0
	for range 600 {
		for _, l := range labs {
			l.advance(time.Second)
			carry()
		}
		if works() {
			worked++
		}
	}
	if frames > 20000 {
		t.Errorf("%d frames on the cables", frames)
	}
	if worked < 500 {
		t.Errorf("in 600 s, frames pass in %d", worked)
	}
}

// The time of a block is the configured one and up to a quarter more.
func TestLoopBlockTime(t *testing.T) {
	for _, last := range []byte{0, 0x7f, 0xff} {
		for _, cfg := range []time.Duration{0, time.Second, 5 * time.Second, time.Minute, time.Minute - time.Nanosecond} {
			l := newLab(t, vswitch.Config{
				Address: vswitch.MAC{0xfe, 0, 0, 0, last, last}, Loop: vswitch.LoopConfig{Detect: true, BlockTime: cfg},
			})
			l.addAll("vm1", "vm2")
			l.send("vm1", ether(broadcast, macC, ""))
			l.send("vm2", ether(broadcast, macC, ""))
			for _, s := range l.ports["vm2"].Take() {
				l.send("vm1", s.Bytes) // one of them is a probe
			}
			reports := l.s.LoopReports()
			if len(reports) != 1 {
				t.Fatalf("%v", reports)
			}
			want := max(cfg, 5*time.Second).Round(time.Second)
			if cfg == 0 {
				want = 30 * time.Second
			}
			if got := reports[0].For; got < want || got > want+want/4+time.Second || last == 0 && got != want {
				t.Errorf("%v with address …%02x:%02x: blocked for %v", cfg, last, last, got)
			}
		}
	}
}

// A trace of a frame from a port that is blocked says so, and a trace sends no probes.
func TestTraceWithLoopDetection(t *testing.T) {
	l := loopLab(t)
	l.addAll("vm1", "vm2")
	l.send("vm1", ether(broadcast, macC, ""))
	l.ports["vm2"].Take()
	last := func(port string) vswitch.TraceStep {
		trace, err := l.s.Trace(port, vswitchtest.Frame(ether(broadcast, macC, "")))
		if err != nil || len(trace.Steps) == 0 {
			t.Fatalf("%v, %v", trace, err)
		}
		return trace.Steps[len(trace.Steps)-1]
	}
	if step := last("vm2"); step.Result != vswitch.TraceSend || step.Port != "vm1" {
		t.Errorf("an address that moves: %+v", step)
	}
	l.want("a trace", got{})
	probes := l.probesOf("vm1", "vm2")
	l.send("vm2", probes["vm1"])
	l.wantBlocked("a loop", "vm2/vm1")
	if step := last("vm2"); step.Result != vswitch.TraceDrop || step.Reason != "loop-blocked" {
		t.Errorf("from a port that is blocked: %+v", step)
	}
}

// The parser never reads past the end, and takes nothing for a probe but what the switch has made:
// frames whose contents are given, and probes of which bits are changed, or that are cut.
func FuzzProbe(f *testing.F) {
	f.Add([]byte{}, 60)
	f.Add([]byte{0, 0, 0, 1}, 46) // of no field
	f.Add([]byte{0x88, 0xb5}, 45)
	f.Add(bytes.Repeat([]byte{0}, 32), 100)
	f.Add([]byte{15: 1}, 60)
	f.Fuzz(func(t *testing.T, b []byte, length int) {
		l := loopLab(t)
		l.addAll("a", "b")
		probe := l.probesOf("a", "b")["a"]
		l.send("b", slices.Concat(probe[:14], b))
		l.wantBlocked(fmt.Sprintf("%x", b), "")

		spoilt := slices.Clone(probe[:min(len(probe), max(length, 14))])
		for i := range min(len(b), len(spoilt)-14) {
			spoilt[14+i] ^= b[i]
		}
		l.send("b", spoilt)
		want := "b/a"
		if len(spoilt) < 14+32 || !sameProbe(spoilt[14:], probe[14:]) {
			want = ""
		}
		l.wantBlocked(fmt.Sprintf("changed in %x, %d bytes", b, len(spoilt)), want)
	})
}

// sameProbe reports whether two probes differ at most in the byte that is no field, and behind the
// last one.
func sameProbe(a, b []byte) bool {
	return bytes.Equal(a[:3], b[:3]) && bytes.Equal(a[4:32], b[4:32])
}

func BenchmarkLoopDetection(b *testing.B) {
	station := vswitchtest.Station
	for _, bm := range []struct {
		name string
		dst  func(i int) vswitch.MAC
	}{
		{"one port", func(int) vswitch.MAC { return station(1) }},
		{"8 ports", func(i int) vswitch.MAC { return station(1 + i%8) }},
		{"flood to 8", func(int) vswitch.MAC { return broadcast }},
	} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%v", bm.name, on), func(b *testing.B) {
				s, ins := benchSwitch(b, 9, nil)
				if _, err := s.Apply(&vswitch.Change{KeepStatic: true, Loop: &vswitch.LoopConfig{Detect: on}}); err != nil {
					b.Fatal(err)
				}
				frames := batchOf(vswitch.MaxBatch, 0, bm.dst)
				pristine := slices.Clone(frames)
				for b.Loop() {
					copy(frames, pristine)
					ins[0].Deliver(frames)
				}
				perFrame(b, len(frames))
			})
		}
	}
}
