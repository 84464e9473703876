package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// tags is the sequence of a frame's tags, as text: "8100:3.5" is a tag of type
// 0x8100 with priority 3 and VLAN 5.
func tags(b []byte) string {
	var ts []string
	for at := 12; ; at += 4 {
		tp := binary.BigEndian.Uint16(b[at:])
		if tp != 0x8100 && tp != 0x88a8 {
			return strings.Join(ts, " ")
		}
		tci := binary.BigEndian.Uint16(b[at+2:])
		ts = append(ts, fmt.Sprintf("%x:%d.%d", tp, tci>>13, tci&0xfff))
	}
}

func tag(pcp, vid int) vswitchtest.Tag {
	return vswitchtest.Tag{TCI: uint16(pcp<<13 | vid)}
}

func stag(pcp, vid int) vswitchtest.Tag {
	return vswitchtest.Tag{Type: 0x88a8, TCI: uint16(pcp<<13 | vid)}
}

func vlanPort(mode vswitch.VLANMode, tag uint16, trunks ...uint16) func(*vswitch.PortConfig) {
	return func(c *vswitch.PortConfig) { c.VLANMode, c.Tag, c.Trunks = mode, tag, trunks }
}

// TestVLANModes sends frames from each kind of port, and looks at what comes out
// of each kind of port, and with which tags.
func TestVLANModes(t *testing.T) {
	configs := map[string]func(*vswitch.PortConfig){
		"plain":    vlanPort(vswitch.VLANDefault, 0),
		"acc5":     vlanPort(vswitch.VLANDefault, 5), // access, since it has a tag
		"acc6":     vlanPort(vswitch.VLANAccess, 6),
		"trunk56":  vlanPort(vswitch.VLANTrunk, 0, 5, 6),
		"trunk0":   vlanPort(vswitch.VLANTrunk, 0, 0),
		"tagged5":  vlanPort(vswitch.VLANNativeTagged, 5, 6),
		"untagd5":  vlanPort(vswitch.VLANNativeUntagged, 5, 6),
		"untagall": vlanPort(vswitch.VLANNativeUntagged, 5),
		"tunnel5":  vlanPort(vswitch.VLANTunnel, 5),
	}
	// Everyone who is in VLAN 5, by what they get of a frame of VLAN 5.
	vlan5 := func(tagged string) map[string]string {
		return map[string]string{"plain": tagged, "trunk56": tagged, "tagged5": tagged,
			"acc5": "", "untagd5": "", "untagall": "", "tunnel5": ""}
	}
	vlan6 := func(tagged string) map[string]string {
		return map[string]string{"plain": tagged, "trunk56": tagged, "tagged5": tagged,
			"acc6": "", "untagd5": tagged, "untagall": tagged}
	}
	vlan0 := map[string]string{"plain": "", "trunk0": "", "untagall": ""}
	for _, tt := range []struct {
		from string
		tags []vswitchtest.Tag
		want map[string]string // port: its tags; nil: dropped for "vlan"
	}{
		{"plain", nil, vlan0},
		{"plain", []vswitchtest.Tag{tag(3, 5)}, vlan5("8100:3.5")},
		{"plain", []vswitchtest.Tag{stag(3, 5)}, vlan5("88a8:3.5")},
		{"plain", []vswitchtest.Tag{tag(0, 6)}, vlan6("8100:0.6")},
		{"plain", []vswitchtest.Tag{tag(0, 7)}, map[string]string{"plain": "8100:0.7", "untagall": "8100:0.7"}},
		// A priority tag is no VLAN: it stays as it is where there are none.
		{"plain", []vswitchtest.Tag{tag(4, 0)}, map[string]string{"plain": "8100:4.0", "trunk0": "8100:4.0", "untagall": "8100:4.0"}},
		{"plain", []vswitchtest.Tag{tag(1, 5), tag(2, 9)}, map[string]string{
			"plain": "8100:1.5 8100:2.9", "trunk56": "8100:1.5 8100:2.9", "tagged5": "8100:1.5 8100:2.9",
			// To a trunk, an inner tag must not become the only one.
			"untagd5": "8100:1.5 8100:2.9", "untagall": "8100:1.5 8100:2.9",
			"acc5": "8100:2.9", "tunnel5": "8100:2.9"}},

		{"acc5", nil, vlan5("8100:0.5")},
		{"acc5", []vswitchtest.Tag{tag(0, 5)}, nil},
		{"acc5", []vswitchtest.Tag{tag(0, 6)}, nil},
		{"acc5", []vswitchtest.Tag{stag(0, 5)}, nil},
		{"acc5", []vswitchtest.Tag{tag(7, 0)}, vlan5("8100:7.5")},
		{"acc6", nil, vlan6("8100:0.6")},

		{"trunk56", nil, nil},
		{"trunk56", []vswitchtest.Tag{tag(0, 0)}, nil},
		{"trunk56", []vswitchtest.Tag{tag(0, 7)}, nil},
		{"trunk56", []vswitchtest.Tag{tag(0, 5)}, vlan5("8100:0.5")},
		{"trunk0", nil, vlan0},
		{"trunk0", []vswitchtest.Tag{tag(0, 5)}, nil},

		{"tagged5", nil, vlan5("8100:0.5")},
		{"tagged5", []vswitchtest.Tag{tag(2, 5)}, vlan5("8100:2.5")},
		{"tagged5", []vswitchtest.Tag{tag(2, 0)}, vlan5("8100:2.5")},
		{"tagged5", []vswitchtest.Tag{tag(0, 6)}, vlan6("8100:0.6")},
		{"tagged5", []vswitchtest.Tag{tag(0, 7)}, nil},
		{"untagd5", nil, vlan5("8100:0.5")},
		{"untagd5", []vswitchtest.Tag{tag(0, 5)}, vlan5("8100:0.5")},
		{"untagd5", []vswitchtest.Tag{tag(0, 6)}, vlan6("8100:0.6")},

		{"tunnel5", nil, vlan5("88a8:0.5")},
		{"tunnel5", []vswitchtest.Tag{tag(3, 77)}, map[string]string{
			"plain": "88a8:0.5 8100:3.77", "trunk56": "88a8:0.5 8100:3.77", "tagged5": "88a8:0.5 8100:3.77",
			"untagd5": "88a8:0.5 8100:3.77", "untagall": "88a8:0.5 8100:3.77",
			"acc5": "8100:3.77", "tunnel5": "8100:3.77"}},
	} {
		t.Run(fmt.Sprintf("%s %v", tt.from, tt.tags), func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			for name, c := range configs {
				l.add(name, c)
			}
			// A second port like the one that sends: frames come to it too.
			l.add("src", configs[tt.from])
			body := strings.Repeat("payload", 40) // longer than Head
			l.send("src", ether(broadcast, macA, body, tt.tags...))
			want := got{}
			for name, ts := range tt.want {
				want[name] = ts
			}
			have := got{}
			for name, p := range l.ports {
				for _, s := range p.Take() {
					have[name] = tags(s.Bytes)
					if payload(s.Bytes) != body || !bytes.Equal(s.Bytes[:12], ether(broadcast, macA, "")[:12]) {
						t.Errorf("%s got a broken frame: %x", name, s.Bytes)
					}
				}
			}
			if d := cmp.Diff(want, have); d != "" {
				t.Errorf("ports and tags (-want +got):\n%s", d)
			}
			var wantDrops drops
			if tt.want == nil {
				wantDrops = drops{"vlan": 1}
			}
			l.drops("src", wantDrops)
		})
	}
}

// TestVLANShapesInOneBatch sends frames of several VLANs and shapes at once, so
// that each is changed back and forth between destinations.
func TestVLANShapesInOneBatch(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("trunk", vlanPort(vswitch.VLANTrunk, 0))
	l.add("acc5", vlanPort(vswitch.VLANAccess, 5))
	l.add("nat6", vlanPort(vswitch.VLANNativeUntagged, 6))
	l.add("trunk2", vlanPort(vswitch.VLANTrunk, 0))
	l.add("acc5b", vlanPort(vswitch.VLANAccess, 5))
	l.add("src", vlanPort(vswitch.VLANNativeTagged, 6))
	l.send("acc5", ether(broadcast, macB, ""))
	l.got()
	l.send("src", ether(broadcast, macA, "1"), ether(broadcast, macA, "2", tag(0, 5)),
		ether(macB, macA, "3", tag(1, 5)), ether(broadcast, macA, "4", tag(2, 6)))
	have := got{}
	for name, p := range l.ports {
		for _, s := range p.Take() {
			have[name] += "[" + tags(s.Bytes) + "]" + payload(s.Bytes)
		}
	}
	want := got{
		"trunk":  "[8100:0.6]1[8100:0.5]2[8100:2.6]4",
		"trunk2": "[8100:0.6]1[8100:0.5]2[8100:2.6]4",
		"acc5":   "[]2[]3",
		"acc5b":  "[]2",
		"nat6":   "[]1[8100:0.5]2[]4",
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestTagsShiftOffloads checks that what counts from the start of the frame
// still points to the same bytes after a tag was put on or taken off.
func TestTagsShiftOffloads(t *testing.T) {
	// Ethernet, IPv4, UDP; the checksum is left to be filled in.
	udp := func(tags ...vswitchtest.Tag) vswitch.Frame {
		b := ether(macB, macA, "", tags...)
		l2 := len(b)
		binary.BigEndian.PutUint16(b[l2-2:], 0x0800)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(ip[2:], 20+8+4)
		b = append(b, ip...)
		b = append(b, 0, 1, 0, 2, 0, 12, 0, 0, 'd', 'a', 't', 'a')
		f := vswitchtest.Frame(b)
		f.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(l2 + 20), CsumOffset: 6}
		return f
	}
	l := newLab(t, vswitch.Config{})
	l.add("acc", vlanPort(vswitch.VLANAccess, 5))
	l.add("acc2", vlanPort(vswitch.VLANAccess, 5))
	l.add("trunk")
	l.add("src")
	for _, p := range l.ports {
		p.SetCaps(vswitch.Caps{Csum: true})
	}
	for _, tt := range []struct {
		from  string
		frame vswitch.Frame
		want  map[string]uint16 // CsumStart
	}{
		{"acc", udp(), map[string]uint16{"acc2": 34, "trunk": 38, "src": 38}},
		{"src", udp(tag(0, 5)), map[string]uint16{"acc": 34, "acc2": 34, "trunk": 38}},
	} {
		l.ports[tt.from].in.Deliver([]vswitch.Frame{tt.frame})
		have := map[string]uint16{}
		for name, p := range l.ports {
			for _, s := range p.Take() {
				have[name] = s.Offload.CsumStart
			}
		}
		if d := cmp.Diff(tt.want, have); d != "" {
			t.Errorf("from %s, CsumStart (-want +got):\n%s", tt.from, d)
		}
	}
	l.drops("acc", nil)

	// A port that does not fill in checksums, one that does, and one that needs
	// a tag: each gets the right thing, whatever was done for those before.
	l.ports["acc2"].SetCaps(vswitch.Caps{})
	l.ports["trunk"].SetCaps(vswitch.Caps{})
	l.ports["acc"].in.Deliver([]vswitch.Frame{udp()})
	sums := map[string]uint16{}
	for name, p := range l.ports {
		for _, s := range p.Take() {
			sums[name] = binary.BigEndian.Uint16(s.Bytes[len(s.Bytes)-4-2:])
		}
	}
	if sums["acc2"] == 0 || sums["acc2"] != sums["trunk"] || sums["src"] != 0 {
		t.Errorf("checksum fields %#x: want the same in acc2 and trunk, and 0, for the port to fill in, in src", sums)
	}
}

func TestFDBIsPerVLAN(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("a", ether(broadcast, macA, "", tag(0, 5)))
	l.send("b", ether(broadcast, macA, "", tag(0, 6)))
	l.got()
	l.wantWhere(macA, 5, "a")
	l.wantWhere(macA, 6, "b")
	l.wantWhere(macA, 0, "")
	l.send("c", ether(macA, macC, "1", tag(0, 5)), ether(macA, macC, "2", tag(0, 6)), ether(macA, macC, "3"))
	l.want("same address in two VLANs", got{"a": "1 3", "b": "2 3"})
	if n, _ := l.s.Flush("", 5); n != 2 {
		t.Errorf("flushed %d entries of VLAN 5, want 2", n)
	}
	l.wantWhere(macA, 5, "")
	l.wantWhere(macA, 6, "b")
}

func TestPinnedInEachNamedVLAN(t *testing.T) {
	pin := func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{macA} }
	for _, tt := range []struct {
		cfg  func(*vswitch.PortConfig)
		want []uint16
	}{
		{vlanPort(vswitch.VLANDefault, 0), []uint16{0}},
		{vlanPort(vswitch.VLANAccess, 5, 7), []uint16{5}},
		{vlanPort(vswitch.VLANTunnel, 5, 7), []uint16{5}},
		{vlanPort(vswitch.VLANTrunk, 0, 5, 6), []uint16{5, 6}},
		{vlanPort(vswitch.VLANNativeTagged, 5, 6, 5), []uint16{5, 6}},
		{vlanPort(vswitch.VLANNativeUntagged, 5), []uint16{5}},
	} {
		l := newLab(t, vswitch.Config{})
		l.add("a", tt.cfg, pin)
		var have []uint16
		for _, e := range l.s.FDB("a", vswitch.AnyVLAN) {
			have = append(have, e.VLAN)
		}
		if d := cmp.Diff(tt.want, have); d != "" {
			t.Errorf("VLANs (-want +got):\n%s", d)
		}
	}
}

func TestStaticEntryInForeignVLAN(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", vlanPort(vswitch.VLANAccess, 5))
	l.add("b")
	if err := l.s.AddStatic(macA, 6, "a"); err != nil {
		t.Fatal(err)
	}
	l.send("b", ether(macA, macB, "1", tag(0, 6)))
	l.want("to a port that is not in the VLAN", got{})
	l.drops("b", drops{"vlan": 1})
}

func TestReconfigureVLANForgetsTheOthers(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.add("b")
	l.send("a", ether(broadcast, macA, "", tag(0, 5)), ether(broadcast, macA, "", tag(0, 6)))
	l.got()
	cfg := a.Config()
	cfg.Trunks = []uint16{6}
	if err := a.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.wantWhere(macA, 5, "")
	l.wantWhere(macA, 6, "a")
	l.send("b", ether(broadcast, macB, "1", tag(0, 5)), ether(broadcast, macB, "2", tag(0, 6)))
	l.want("new rule", got{"a": "2"})
}

func TestVLANModeNames(t *testing.T) {
	for _, name := range []string{"", "access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel"} {
		m, err := vswitch.ParseVLANMode(name)
		if err != nil || m.String() != name {
			t.Errorf("ParseVLANMode(%q): %v, %v", name, m, err)
		}
	}
	if _, err := vswitch.ParseVLANMode("Access"); !errors.Is(err, vswitch.ErrBadVLAN) {
		t.Errorf("ParseVLANMode of an unknown name: %v", err)
	}
}
