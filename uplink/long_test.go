package uplink

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// withTags puts tags into a copy of a frame, the last type outermost.
func withTags(frame []byte, types ...uint16) []byte {
	for i, tpid := range types {
		frame = tagged(frame, tpid, uint16(10+i))
	}
	return frame
}

// Frames as long as the MTU allows leave with all tags that Caps promises to take, checksums to be
// filled in or not, in order, and more than the ring for them has slots.
func TestTransmitFullFramesWithTags(t *testing.T) {
	const ctag, stag = unix.ETH_P_8021Q, unix.ETH_P_8021AD
	l := newLab(t)
	// A veth counts all tags but one in its peer's MTU.
	l.far(func(k netlink.Link) error { return netlink.LinkSetMTU(k, 1508) })
	noTxOffloads(t)
	r := begin(t, nil)
	far := l.station(false)
	rounds := 3*r.u.sock.long.ring.slots/4 + 1
	for round := range rounds {
		var frames []*vswitch.Frame
		var want [][]byte
		for i, tags := range [][]uint16{{}, {ctag}, {stag}, {ctag, ctag}, {ctag, stag}, {stag, stag}, {ctag, ctag, stag}, {}} {
			plain := ethernet(farMAC, guestMAC, ethExperimental, 1500, round+i)
			data := withTags(plain, tags...)
			frames = append(frames, frameOf(data, vswitch.Offload{}, 1+i%4))
			want = append(want, data)
		}
		if n := r.transmit(frames...); n != len(frames) {
			t.Fatalf("%d of %d frames sent, drops %v", n, len(frames), r.counters.DropsByName())
		}
		for i := range want {
			if got := far.receive(); !bytes.Equal(got, want[i]) {
				t.Fatalf("round %d, frame %d: got %d bytes, % x; want %d, % x", round, i, len(got), got[:24], len(want[i]), want[i][:24])
			}
		}
	}
	for _, v6 := range []bool{false, true} {
		for tags := 1; tags <= vswitch.MaxTags; tags++ {
			header := 20
			if v6 {
				header = 40
			}
			data, o := ipFrame(v6, protoUDP, 1500-header-8)
			data = withTags(data, []uint16{ctag, ctag, stag}[vswitch.MaxTags-tags:]...)
			o.CsumStart += uint16(4 * tags)
			if n := r.transmit(frameOf(data, o, 1)); n != 1 {
				t.Fatalf("checksum, %d tags: drops %v", tags, r.counters.DropsByName())
			}
			if _, err := openIP(far.receive(), 14+4*tags); err != nil {
				t.Errorf("checksum, %d tags: %v", tags, err)
			}
		}
	}
	if n := r.counters.TxFrames.Load(); n != uint64(8*rounds+6) || len(r.counters.DropsByName()) != 0 {
		t.Errorf("%d frames counted, drops %v", n, r.counters.DropsByName())
	}
}

// One tag of IEEE 802.1ad needs nothing of the other end.
func TestTransmitFullFrameWithServiceTag(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	want := tagged(ethernet(farMAC, guestMAC, ethExperimental, 1500, 1), unix.ETH_P_8021AD, 10)
	r.transmit(frameOf(want, vswitch.Offload{}, 2))
	if got := far.receive(); !bytes.Equal(got, want) {
		t.Errorf("got % x", got[:24])
	}
}

// What the kernel refuses of such frames is named, and those that follow leave.
func TestTransmitFullFramesRefused(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	data := tagged(ethernet(farMAC, guestMAC, ethExperimental, 1500, 1), unix.ETH_P_8021AD, 10)
	bad := vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: 60000, CsumOffset: 16}
	long := withTags(ethernet(farMAC, guestMAC, ethExperimental, 1505, 1), unix.ETH_P_8021Q, unix.ETH_P_8021AD)
	good := frameOf(data, vswitch.Offload{}, 1)
	r.refuses([]*vswitch.Frame{
		good, frameOf(data, bad, 1), good, frameOf(long, vswitch.Offload{}, 1), good,
	}, "", "send-error", "", "too-big", "")
	for range 3 {
		if got := far.receive(); !bytes.Equal(got, data) {
			t.Errorf("got % x", got[:24])
		}
	}
	l.near(netlink.LinkSetDown)
	waitFor(t, "the link to be down", func() bool { return r.u.Status().State == StateDown })
	r.refuses([]*vswitch.Frame{good}, "port-down")
}

// Memory that is gone is the worker's to notice, and does not keep others from sending.
func TestTransmitFullFrameFromLostMemory(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	data := tagged(ethernet(farMAC, guestMAC, ethExperimental, 1500, 1), unix.ETH_P_8021AD, 10)
	f := frameOf(data, vswitch.Offload{}, 1)
	f.Body[0] = truncatedMemory(t, 4096)[:len(f.Body[0])]
	fault := func() (fault any) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { fault = recover() }()
		r.transmit(f)
		return nil
	}()
	if _, ok := fault.(interface{ Addr() uintptr }); !ok {
		t.Fatalf("panicked with %v", fault)
	}
	r.transmit(frameOf(data, vswitch.Offload{}, 1))
	if got := far.receive(); !bytes.Equal(got, data) {
		t.Errorf("got % x", got[:24])
	}
}

func TestNeedsRing(t *testing.T) {
	const full = 1514
	for _, tt := range []struct {
		n    int
		tags []uint16
		gso  uint8
		want bool
	}{
		{1514, nil, 0, false},
		{1514, []uint16{unix.ETH_P_8021AD}, 0, false},
		{1515, nil, 0, false},
		{1518, []uint16{unix.ETH_P_8021Q}, 0, false},
		{1519, []uint16{unix.ETH_P_8021Q}, 0, false},
		{1518, []uint16{unix.ETH_P_8021AD}, 0, true},
		{1522, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD}, 0, true},
		{1522, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021Q}, 0, true},
		{1518, []uint16{unix.ETH_P_8021AD, unix.ETH_P_8021Q}, 0, false}, // the outer one is of 0x8100
		{1523, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD}, 0, false},
		{1526, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021Q, unix.ETH_P_8021Q}, 0, true},
		{1526, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021Q, unix.ETH_P_8021AD}, 0, true},
		{1527, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021Q, unix.ETH_P_8021AD}, 0, false},
		{1530, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021Q, unix.ETH_P_8021Q, unix.ETH_P_8021Q}, 0, false},
		{1522, []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD}, vswitch.GSOTCPv4, false},
	} {
		t.Run(fmt.Sprintf("%d/%x/%d", tt.n, tt.tags, tt.gso), func(t *testing.T) {
			data := withTags(ethernet(farMAC, guestMAC, ethExperimental, tt.n-14-4*len(tt.tags), 0), tt.tags...)
			if got := needsRing(frameOf(data, vswitch.Offload{GSOType: tt.gso}, 1), full); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
