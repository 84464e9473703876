package uplink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// A tapLab is a TAP device, mostly in the place of the veth's near end. What is written to the
// device comes in by the interface with the virtio_net_hdr that it was written with, and the kernel
// does not look into it much: it is how GSO frames of tunnels can be had without the tunnels.
type tapLab struct {
	t  testing.TB
	fd int
}

func newTapLab(t testing.TB, name string) *tapLab {
	t.Helper()
	quietIPv6()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &tapLab{t, fd}
}

// send writes a frame with a virtio_net_hdr, its hdr_len included as it is.
func (l *tapLab) send(o vswitch.Offload, frame []byte) {
	l.t.Helper()
	if _, err := unix.Write(l.fd, append(slices.Clone(o.Header()[:]), frame...)); err != nil {
		l.t.Fatalf("writing %d bytes with %+v: %v", len(frame), o, err)
	}
}

// A GSO frame whose sender has not said that a checksum is due, as TAP devices, large receive
// offload and GRO with a list of segments have them, arrives as one that says so.
func TestGSOWithoutChecksumRequest(t *testing.T) {
	l := newTapLab(t, nearName)
	r := begin(t, nil)
	for _, v6 := range []bool{false, true} {
		for _, n := range []int{1401, 3000, 60000} {
			for _, tags := range []int{0, 1, 2} {
				name := fmt.Sprintf("IPv6=%v/payload=%d/tags=%d", v6, n, tags)
				want, o := ipFrame(v6, protoTCP, n)
				o.GSOType, o.GSOSize, o.HdrLen = gsoType(v6, protoTCP), 1400, 0
				sent := slices.Clone(want)
				for i := range 2 { // the checksum of the whole, or whatever else is there
					sent[int(o.CsumStart)+int(o.CsumOffset)+i] ^= 0x5a
				}
				for i := range tags {
					want = tagged(want, unix.ETH_P_8021Q, uint16(10+i))
					sent = tagged(sent, unix.ETH_P_8021Q, uint16(10+i))
					o.CsumStart += 4
				}
				l.send(vswitch.Offload{GSOType: o.GSOType, GSOSize: o.GSOSize}, sent)
				g := r.take(1)[0]
				g.offload.HdrLen = 0
				if d := cmp.Diff(o, g.offload); d != "" {
					t.Errorf("%s: offload (-want +got):\n%s", name, d)
				}
				if !bytes.Equal(g.data, want) {
					t.Errorf("%s: arrived differently:\n% x\nwant\n% x", name, g.data[:80], want[:80])
				}
			}
		}
	}
}

// The frames of a UDP flow merged into a list (rx-gro-list) have the flag DATA_VALID and the
// checksum of the first of them. The kernel lets nobody send such a frame, so this one is put into
// the ring by hand.
func TestFragmentListGSO(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		want, o := ipFrame(v6, protoUDP, 1500)
		o.GSOType, o.GSOSize, o.HdrLen = vswitch.GSOUDPL4, 500, 0
		sent := slices.Clone(want)
		sent[int(o.CsumStart)+int(o.CsumOffset)] ^= 0x5a
		r := &rig{t: t}
		rx := fakeRing(r, func(s slot) {
			setSlot(s, unix.TP_STATUS_USER, uint32(len(sent)), uint32(len(sent)), 82)
			h := vswitch.Offload{Flags: vswitch.HdrDataValid, GSOType: o.GSOType, GSOSize: o.GSOSize, HdrLen: 42}
			copy(s[82-vnetHdrLen:], h.Header()[:])
			copy(s[82:], sent)
		})
		rx.Poll()
		if len(r.frames) != 1 {
			t.Fatalf("delivered %d frames, drops %v", len(r.frames), r.counters.DropsByName())
		}
		r.frames[0].offload.HdrLen = 0
		if d := cmp.Diff(o, r.frames[0].offload); d != "" {
			t.Errorf("offload (-want +got):\n%s", d)
		}
		if !bytes.Equal(r.frames[0].data, want) {
			t.Error("arrived differently")
		}
	}
}

// A GSO request of which no checksum request can be made is refused.
func TestGSOThatIsNone(t *testing.T) {
	frame, _ := ipFrame(false, protoTCP, 1400)
	r := &rig{t: t}
	rx := fakeRing(r, func(s slot) {
		setSlot(s, unix.TP_STATUS_USER, uint32(len(frame)), uint32(len(frame)), 82)
		h := vswitch.Offload{GSOType: vswitch.GSOUDPL4, GSOSize: 500}
		copy(s[82-vnetHdrLen:], h.Header()[:])
		copy(s[82:], frame)
	})
	rx.Poll()
	if n := r.counters.Drops(vswitch.DropBadOffload); n != 1 || len(r.frames) != 0 {
		t.Errorf("delivered %d frames, drops %v", len(r.frames), r.counters.DropsByName())
	}
}

// A checksum field deep in the frame, behind the options of a tunnel's header, is in Head.
func TestDeepChecksumField(t *testing.T) {
	l := newTapLab(t, nearName)
	r := begin(t, nil)
	for _, start := range []int{100, 240, 400, 1200} {
		data := ethernet(guestMAC, farMAC, ethExperimental, 1400, start)
		o := vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(start), CsumOffset: 16}
		l.send(o, data)
		g := r.take(1)[0] // which has been checked for what Head is to have
		if g.offload != o || !bytes.Equal(g.data, data) {
			t.Errorf("checksum at %d: arrived with %+v", start, g.offload)
		}
	}
}

// vxlanFrame puts an Ethernet frame into VXLAN over IPv4, with the checksum of the outer UDP header
// as Linux leaves it in a GSO frame, or none.
func vxlanFrame(inner []byte, o vswitch.Offload, csum bool) ([]byte, vswitch.Offload) {
	const outer = 14 + 20 + 8 + 8
	frame, _ := ipFrame(false, protoUDP, 0)
	be := binary.BigEndian
	be.PutUint16(frame[16:], uint16(20+8+8+len(inner)))
	clear(frame[24:26])
	be.PutUint16(frame[24:], ^sum(0, frame[14:34]))
	length := uint16(8 + 8 + len(inner))
	be.PutUint16(frame[36:], 4789)
	be.PutUint16(frame[38:], length)
	clear(frame[40:42])
	if csum {
		be.PutUint16(frame[40:], sum(protoUDP+uint32(length), frame[26:34]))
	}
	frame = append(frame, 8, 0, 0, 0, 0, 0, 5, 0)
	o.CsumStart += outer
	return append(frame, inner...), o
}

// A GSO frame inside VXLAN arrives whole, with the request for its inner headers.
func TestEncapsulatedGSOArrives(t *testing.T) {
	l := newTapLab(t, nearName)
	r := begin(t, nil)
	for _, v6 := range []bool{false, true} {
		for _, csum := range []bool{false, true} {
			for _, n := range []int{1401, 60000} {
				inner, o := ipFrame(v6, protoTCP, n)
				o.GSOType, o.GSOSize, o.HdrLen = gsoType(v6, protoTCP), 1400, 0
				data, o := vxlanFrame(inner, o, csum)
				l.send(o, data)
				g := r.take(1)[0]
				g.offload.HdrLen = 0
				if g.offload != o || !bytes.Equal(g.data, data) {
					t.Errorf("IPv6=%v, checksum=%v, %d bytes: arrived with %+v, want %+v", v6, csum, n, g.offload, o)
				}
			}
		}
	}
}
