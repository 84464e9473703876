package vswitch_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

func tag(pcp, vid int) vswitchtest.Tag {
	return vswitchtest.Tag{TCI: uint16(pcp<<13 | vid)}
}

func vlanPort(mode vswitch.VLANMode, tag uint16, trunks ...uint16) func(*vswitch.PortConfig) {
	return func(c *vswitch.PortConfig) { c.VLANMode, c.Tag, c.Trunks = mode, tag, trunks }
}

// TestTagsShiftOffloads checks that offsets from the start of the frame refer to the same bytes
// after a tag was pushed or popped.
func TestTagsShiftOffloads(t *testing.T) {
	// Ethernet, IPv4, UDP, with a request to fill in the checksum.
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

	// One port accepts no frames without checksums, one does, and one needs a tag: each gets the
	// right frame, whatever was done for the ports before.
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
