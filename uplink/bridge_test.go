package uplink

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Comparisons with a Linux bridge: what comes in by one interface and goes out by another is to be
// what it would be if the two were ports of a bridge.

// joinByBridge makes interfaces of this namespace ports of a bridge, until the returned function is
// called.
func joinByBridge(t *testing.T, names ...string) (part func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	bridge, err := netlink.LinkByName("br0")
	must(err)
	for _, name := range names {
		link, err := netlink.LinkByName(name)
		must(err)
		must(netlink.LinkSetMaster(link, bridge))
	}
	must(netlink.LinkSetUp(bridge))
	return func() { must(netlink.LinkDel(bridge)) }
}

// joinBySwitch makes interfaces uplinks of a switch that has a guest without any offloads as well,
// until the returned function is called.
func joinBySwitch(t *testing.T, names ...string) (guest *vswitchtest.Recorder, drops func() string, part func()) {
	t.Helper()
	return joinTo(t, vswitch.New(vswitch.Config{}), names...)
}

// joinTo is joinBySwitch with a switch that is there; the returned function closes it.
func joinTo(t *testing.T, sw *vswitch.Switch, names ...string) (guest *vswitchtest.Recorder, drops func() string, part func()) {
	t.Helper()
	guest = new(vswitchtest.Recorder)
	a, err := sw.Attach(vswitch.DefaultPortConfig("guest"), guest)
	if err != nil {
		t.Fatal(err)
	}
	a.SetUp(true)
	var ups []*Uplink
	var counters []*vswitch.Counters
	for _, name := range names {
		r := &rig{t: t, pumps: make(map[worker.Source]*pump)}
		var att *vswitch.Attachment
		var in *vswitch.Inlet
		u, err := Open(Config{
			Name: name, Interface: name, Promiscuous: true,
			Counters: &r.counters,
			Logger:   hclog.NewNullLogger(),
			Deliver:  func(f []vswitch.Frame) { in.Deliver(f) },
			SetUp:    func(up bool) { att.SetUp(up) },
			Start:    r.start, Stop: r.stop,
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg := vswitch.DefaultPortConfig(name)
		cfg.Counters = &r.counters
		if att, err = sw.Attach(cfg, u); err != nil {
			t.Fatal(err)
		}
		in = att.NewInlet()
		u.Begin()
		waitFor(t, name+" to be up", func() bool { return u.Status().State == StateUp })
		ups, counters = append(ups, u), append(counters, &r.counters)
	}
	drops = func() string {
		s := ""
		for i, c := range counters {
			s += fmt.Sprintf("%s %v ", names[i], c.DropsByName())
		}
		return s
	}
	return guest, drops, func() {
		for _, u := range ups {
			u.Close()
		}
		sw.Close()
	}
}

// A stimulus is a frame with what a TAP device's user says of it.
type stimulus struct {
	name    string
	frame   []byte
	offload vswitch.Offload
	segment int // how many frames without offloads become of it
}

// stimuli are all types of GSO and states of the checksum that the kernel lets through to a packet
// socket, with tags and without.
func stimuli() (all []stimulus) {
	add := func(name string, frame []byte, o vswitch.Offload, segments int) {
		for tags := range 3 {
			all = append(all, stimulus{fmt.Sprintf("%s, %d tags", name, tags), frame, o, segments})
			frame = tagged(frame, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD}[tags%2], uint16(10+tags))
			if o.Flags&vswitch.HdrNeedsCsum != 0 {
				o.CsumStart += 4
			}
		}
	}
	for _, v6 := range []bool{false, true} {
		for _, proto := range []uint8{protoTCP, protoUDP} {
			name := fmt.Sprintf("IPv6=%v protocol=%d", v6, proto)
			for _, n := range []int{1, 1001, 1400} {
				frame, o := ipFrame(v6, proto, n)
				add(fmt.Sprintf("%s checksum of %d", name, n), frame, o, 1)
				o.HdrLen = uint16(len(frame)) // a hint
				add(fmt.Sprintf("%s checksum of %d, hint", name, n), frame, o, 1)
				add(fmt.Sprintf("%s complete, %d", name, n), frame, vswitch.Offload{}, 1)
				add(fmt.Sprintf("%s verified, %d", name, n), frame, vswitch.Offload{Flags: vswitch.HdrDataValid}, 1)
				if inner, o := vxlanFrame(frame, o, false); len(inner) < 1500 {
					o.HdrLen = 0
					add(fmt.Sprintf("%s checksum of %d in VXLAN", name, n), inner, o, 1)
				}
			}
			for _, n := range []int{1401, 2800, 30000, 60000} {
				frame, o := ipFrame(v6, proto, n)
				o.GSOType, o.GSOSize = gsoType(v6, proto), 1400
				segments := (n + 1399) / 1400
				if proto == protoUDP && !kernelTakesUSO() {
					continue
				}
				add(fmt.Sprintf("%s GSO of %d", name, n), frame, o, segments)
				if proto == protoTCP {
					o.GSOType |= vswitch.GSOECN
					add(fmt.Sprintf("%s ECN GSO of %d", name, n), frame, o, segments)
					for _, flags := range []uint8{0, vswitch.HdrDataValid} {
						add(fmt.Sprintf("%s GSO of %d, flags %d", name, n, flags), frame,
							vswitch.Offload{Flags: flags, GSOType: gsoType(v6, proto), GSOSize: 1400}, segments)
					}
				}
			}
		}
	}
	return all
}

// Of each frame that a TAP device's user writes there arrive, beyond a switch, at an uplink without
// offloads and at a guest without them, the same frames as beyond a bridge, byte for byte.
func TestForwardsLikeABridge(t *testing.T) {
	l := newLab(t)
	noTxOffloads(t)
	far := l.station(false)
	tap := newTapLab(t, "tap0")
	marker := ethernet(farMAC, guestMAC, ethExperimental, 60, 0)
	// through returns what arrives of s.
	through := func(s stimulus) (frames [][]byte) {
		t.Helper()
		tap.send(s.offload, s.frame)
		tap.send(vswitch.Offload{}, marker)
		for {
			b := far.receive()
			if bytes.Equal(b, marker) {
				return frames
			}
			if bytes.Equal(b[6:12], guestMAC) { // and not the kernel's own
				frames = append(frames, slices.Clone(b))
			}
		}
	}
	all := stimuli()
	var want [][][]byte
	part := joinByBridge(t, nearName, "tap0")
	for _, s := range all {
		frames := through(s)
		if len(frames) != s.segment {
			t.Fatalf("%s: the bridge makes %d frames, want %d", s.name, len(frames), s.segment)
		}
		want = append(want, frames)
	}
	part()

	guest, drops, part := joinBySwitch(t, nearName, "tap0")
	defer part()
	for i, s := range all {
		got := through(s)
		compare(t, s.name+", uplink", got, want[i])
		var atGuest [][]byte
		waitFor(t, "the guest's frames of "+s.name, func() bool {
			for _, f := range guest.Take() {
				if f.Offload != (vswitch.Offload{}) {
					t.Errorf("%s: the guest was sent %+v", s.name, f.Offload)
				}
				if bytes.Equal(f.Bytes[6:12], guestMAC) {
					atGuest = append(atGuest, f.Bytes)
				}
			}
			return len(atGuest) > 0 && bytes.Equal(atGuest[len(atGuest)-1], marker)
		})
		compare(t, s.name+", guest", atGuest[:len(atGuest)-1], want[i])
		if t.Failed() {
			t.Fatalf("drops: %s", drops())
		}
	}
}

// compare compares what arrived with what arrived beyond a bridge.
func compare(t *testing.T, name string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames, and %d beyond a bridge", name, len(got), len(want))
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			n := min(len(got[i]), len(want[i]), 100)
			t.Errorf("%s: frame %d is not as beyond a bridge:\n% x\nwant\n% x", name, i, got[i][:n], want[i][:n])
			return
		}
	}
}
