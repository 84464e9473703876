package uplink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

func TestReceivesFramesWhole(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	for _, n := range []int{0, 1, 46, 114, 115, 242, 243, 1000, 1500} {
		want := ethernet(guestMAC, farMAC, ethExperimental, n, n)
		far.send(want)
		g := r.take(1)[0]
		if !bytes.Equal(g.data, want) {
			t.Errorf("payload of %d bytes arrived differently:\n% x\nwant\n% x", n, g.data, want)
		}
		if g.offload != (vswitch.Offload{}) {
			t.Errorf("payload of %d bytes: offload %+v", n, g.offload)
		}
	}
}

func TestReceivesRoundTheRing(t *testing.T) {
	l := newLab(t)
	r := begin(t, func(c *Config) { c.RingSize = 8192 })
	if n := r.u.Status().RingSlots; n != 4 {
		t.Fatalf("ring of %d slots", n)
	}
	far := l.station(false)
	for i := range 23 {
		want := ethernet(guestMAC, farMAC, ethExperimental, 100, i)
		far.send(want)
		if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
			t.Fatalf("frame %d arrived differently", i)
		}
	}
}

// Core dumps do not contain received frames: dd is among the flags of each mapping of a packet
// socket.
func TestCoreDumpsOmitTheRing(t *testing.T) {
	newLab(t)
	begin(t, nil)
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ring := regexp.MustCompile(`(?s) socket:\[\d+\].*?VmFlags:(.*?)\n`).FindAllSubmatch(smaps, -1)
	if len(ring) == 0 {
		t.Fatal("no ring is mapped")
	}
	for _, m := range ring {
		if !slices.Contains(strings.Fields(string(m[1])), "dd") {
			t.Errorf("the flags of a ring are%s", m[1])
		}
	}
}

func TestOwnFramesNotHeard(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)

	// The switch's, and those of the host's own stack.
	own := ethernet(farMAC, guestMAC, ethExperimental, 50, 1)
	if n := r.transmit(frameOf(own, vswitch.Offload{}, 1)); n != 1 {
		t.Fatalf("Transmit took %d frames", n)
	}
	host, err := rawSocket(nearName, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(host)
	if _, err := unix.Write(host, own); err != nil {
		t.Fatal(err)
	}
	far.receive()
	far.receive()

	want := ethernet(guestMAC, farMAC, ethExperimental, 50, 2)
	far.send(want)
	if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
		t.Errorf("heard % x", g.data)
	}
	if !r.u.Status().IgnoresOutgoing {
		t.Error("the kernel does not keep our frames from us")
	}
	if on, err := unix.GetsockoptInt(r.u.sock.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING); on != 1 || err != nil {
		t.Errorf("the kernel was not asked to: %d, %v", on, err)
	}
}

func TestNotPromiscuousUnlessAsked(t *testing.T) {
	l := newLab(t)
	promisc := func() int {
		var n int
		l.near(func(k netlink.Link) error { n = k.Attrs().Promisc; return nil })
		return n
	}
	r := begin(t, func(c *Config) { c.Promiscuous = false })
	if n := promisc(); n != 0 {
		t.Errorf("interface's promiscuity is %d without being asked for", n)
	}
	r.u.Close()
	r = begin(t, nil)
	if n := promisc(); n != 1 {
		t.Errorf("interface's promiscuity is %d while the uplink is open, want 1", n)
	}
	r.u.Close()
	if n := promisc(); n != 0 {
		t.Errorf("interface's promiscuity is %d after Close", n)
	}
}

func TestVLANTagRestored(t *testing.T) {
	for _, offload := range []bool{true, false} {
		t.Run(fmt.Sprintf("txvlan=%v", offload), func(t *testing.T) {
			l := newLab(t)
			l.inFar(func() error {
				flags := ethtool(t, farName, ethtoolGFlags, 0) &^ ethFlagTxVLAN
				if offload {
					flags |= ethFlagTxVLAN
				}
				ethtool(t, farName, ethtoolSFlags, flags)
				return nil
			})
			r := begin(t, nil)
			far := l.station(false)
			plain := ethernet(guestMAC, farMAC, ethExperimental, 300, 0)
			for _, want := range [][]byte{
				tagged(plain, unix.ETH_P_8021Q, 42),
				tagged(plain, unix.ETH_P_8021Q, 7<<13|1<<12|4094), // priority and DEI stay
				tagged(plain, unix.ETH_P_8021Q, 0),                // priority tag
				tagged(plain, unix.ETH_P_8021AD, 100),
				tagged(tagged(plain, unix.ETH_P_8021Q, 42), unix.ETH_P_8021AD, 100),
				tagged(tagged(plain, unix.ETH_P_8021Q, 42), unix.ETH_P_8021Q, 43),
				tagged(tagged(ethernet(guestMAC, farMAC, ethExperimental, 0, 0), unix.ETH_P_8021Q, 1), unix.ETH_P_8021AD, 2),
			} {
				far.send(want)
				if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
					t.Errorf("tag lost or changed:\n% x\nwant\n% x", g.data[:24], want[:24])
				}
			}
		})
	}
}

// TestPartialChecksumsAndGSOArriveWithOffload sends what a stack with offloads sends, in all sizes:
// in a slot and beside it, without and with tags.
func TestPartialChecksumsAndGSOArriveWithOffload(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(true)
	for _, v6 := range []bool{false, true} {
		for _, proto := range []uint8{protoTCP, protoUDP} {
			for _, n := range []int{1, 1000, 1400, 3000, 9000, 60000} {
				for _, tags := range []int{0, 1, 2} {
					name := fmt.Sprintf("IPv6=%v/protocol=%d/payload=%d/tags=%d", v6, proto, n, tags)
					data, o := ipFrame(v6, proto, n)
					if n > 1400 {
						o.GSOType, o.GSOSize = gsoType(v6, proto), 1400
						if proto == protoUDP && !kernelTakesUSO() {
							continue
						}
					}
					for i := range tags {
						data = tagged(data, unix.ETH_P_8021Q, uint16(10+i))
						o.CsumStart += 4
						o.HdrLen += 4
					}
					var hdr vnetHdr
					hdr.encode(&vswitch.Frame{Head: data, Offload: o})
					far.send(append(hdr[:], data...))
					g := r.take(1)[0]
					if !bytes.Equal(g.data, data) {
						t.Errorf("%s: arrived differently", name)
					}
					g.offload.HdrLen, o.HdrLen = 0, 0 // a hint, which the kernel computes its own way
					if d := cmp.Diff(o, g.offload); d != "" {
						t.Errorf("%s: offload (-sent +received):\n%s", name, d)
					}
				}
			}
		}
	}
}

func gsoType(v6 bool, proto uint8) uint8 {
	switch {
	case proto == protoUDP:
		return vswitch.GSOUDPL4
	case v6:
		return vswitch.GSOTCPv6
	}
	return vswitch.GSOTCPv4
}

// TestTCPStackPeer listens in to a real TCP connection between the far namespace and this one:
// every segment, of whatever size, has to be there.
func TestTCPStackPeer(t *testing.T) {
	l := newLab(t)
	address := func(ip string) func(netlink.Link) error {
		return func(k netlink.Link) error {
			a, err := netlink.ParseAddr(ip + "/24")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(k, a)
		}
	}
	l.near(address("10.9.9.1"))
	l.far(address("10.9.9.2"))
	r := begin(t, nil)

	ln, err := net.Listen("tcp", "10.9.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const total = 1 << 20 // fits into the ring even in segments of the MTU's size
	l.inFar(func() error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_, _ = c.Write(make([]byte, total))
		}()
		return nil
	})
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.Copy(io.Discard, c); n != total || err != nil {
		t.Fatalf("%d bytes came through, %v", n, err)
	}

	// What the stack received was on the interface, so it is here or was dropped.
	var gso, partial int
	seen := make(map[uint32]bool)
	var payload int
	waitFor(t, "the whole stream", func() bool {
		r.mu.Lock()
		frames := r.frames
		r.frames = nil
		r.mu.Unlock()
		for _, g := range frames {
			if binary.BigEndian.Uint16(g.data[12:]) != 0x0800 || g.data[23] != protoTCP {
				continue
			}
			if g.offload.GSOType == vswitch.GSOTCPv4 {
				gso++
			}
			if g.offload.Flags&vswitch.HdrNeedsCsum != 0 {
				partial++
				if g.offload.CsumStart != 34 || g.offload.CsumOffset != 16 {
					t.Fatalf("offload of a TCP segment: %+v", g.offload)
				}
			}
			if seq := binary.BigEndian.Uint32(g.data[38:]); !seen[seq] {
				n := int(binary.BigEndian.Uint16(g.data[16:])) - 20 - int(g.data[46]>>4*4)
				if n > 0 {
					seen[seq] = true
				}
				payload += n
			}
		}
		return payload >= total || r.counters.Drops(vswitch.DropRingFull) > 0 || r.u.Status().KernelDrops > 0
	})
	if payload < total {
		t.Errorf("%d of %d bytes heard: %v", payload, total, r.counters.DropsByName())
	}
	if gso == 0 || partial == 0 {
		t.Errorf("%d GSO frames and %d partial checksums: veth's offloads are off", gso, partial)
	}
}

// TestFramesOfLinkGoingDownFetched: the socket reports ENETDOWN instead of a frame once; frames
// beside the ring must not get out of step with it.
func TestFramesOfLinkGoingDownFetched(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	far := l.station(true)
	var want [][]byte
	for i := range 5 {
		data, o := ipFrame(false, protoTCP, 5000+i)
		o.GSOType, o.GSOSize = vswitch.GSOTCPv4, 1400
		var hdr vnetHdr
		hdr.encode(&vswitch.Frame{Head: data, Offload: o})
		far.send(append(hdr[:], data...))
		want = append(want, data)
	}
	waitFor(t, "the frames in the ring", func() bool {
		return r.u.sock.ring.status(len(want)-1)&unix.TP_STATUS_USER != 0
	})
	l.near(netlink.LinkSetDown)
	for r.u.sock.rx.Poll() > 0 {
	}
	for i, g := range r.take(len(want)) {
		if !bytes.Equal(g.data, want[i]) {
			t.Errorf("frame %d is not what was sent", i)
		}
	}
}

func TestPollTakesABatchAtMost(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	far := l.station(false)
	const n = 2*vswitch.MaxBatch + 5
	for i := range n {
		far.send(ethernet(guestMAC, farMAC, ethExperimental, 50, i))
	}
	rx := r.u.sock.rx
	waitFor(t, "the frames in the ring", func() bool { return r.u.sock.ring.status(n-1)&unix.TP_STATUS_USER != 0 })
	if !rx.Arm() {
		t.Error("Arm sees no frame in a full ring")
	}
	for i, want := range []int{vswitch.MaxBatch, vswitch.MaxBatch, 5, 0} {
		if got := rx.Poll(); got != want {
			t.Errorf("Poll %d took %d, want %d", i, got, want)
		}
	}
	if rx.Arm() {
		t.Error("Arm sees a frame in an empty ring")
	}
	r.take(n)
}

// TestSlotsHandedBackWhenDeliverPanics: a guest's memory may turn out to be gone while a frame is
// copied to it. The worker survives that; the frame must not come again and again.
func TestSlotsHandedBackWhenDeliverPanics(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	far := l.station(false)
	far.send(ethernet(guestMAC, farMAC, ethExperimental, 50, 0))
	rx := r.u.sock.rx
	waitFor(t, "the frame", rx.Arm)
	deliver := rx.deliver
	rx.deliver = func([]vswitch.Frame) { panic("memory is gone") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		rx.Poll()
	}()
	rx.deliver = deliver
	if rx.Arm() {
		t.Error("the slot is still ours")
	}
	want := ethernet(guestMAC, farMAC, ethExperimental, 50, 1)
	far.send(want)
	waitFor(t, "the next frame", func() bool { return rx.Poll() > 0 })
	if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
		t.Error("not the next frame")
	}
}

// TestJumboFramesFitTheirSlots: with a large MTU frames of that size need no system call.
func TestJumboFramesFitTheirSlots(t *testing.T) {
	l := newLab(t)
	mtu := func(k netlink.Link) error { return netlink.LinkSetMTU(k, 9000) }
	l.near(mtu)
	l.far(mtu)
	r := newRig(t, nil)
	far := l.station(false)
	want := tagged(tagged(ethernet(guestMAC, farMAC, ethExperimental, 8992, 0), unix.ETH_P_8021Q, 1), unix.ETH_P_8021AD, 2)
	far.send(want)
	rx := r.u.sock.rx
	waitFor(t, "the frame", rx.Arm)
	if st := r.u.sock.ring.status(0); st&unix.TP_STATUS_COPY != 0 {
		t.Error("frame of the MTU's size did not fit")
	}
	rx.Poll()
	if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
		t.Error("arrived differently")
	}
}

// fakeRing is a ring in ordinary memory whose first slot we fill ourselves.
func fakeRing(r *rig, fill func(slot)) *receiver {
	g := &ring{mem: make([]byte, 2*minSlotSize), slotSize: minSlotSize, slots: 2}
	fill(g.slot(0))
	return &receiver{fd: -1, ring: g, deliver: r.deliver, counters: &r.counters}
}

// setSlot fills in a slot header.
func setSlot(s slot, status, length, snaplen uint32, mac uint16) {
	binary.NativeEndian.PutUint32(s, status)
	binary.NativeEndian.PutUint32(s[slotLen:], length)
	binary.NativeEndian.PutUint32(s[slotSnaplen:], snaplen)
	binary.NativeEndian.PutUint16(s[slotMac:], mac)
}

func TestBadSlots(t *testing.T) {
	const user = unix.TP_STATUS_USER
	drop := func(r vswitch.DropReason) *vswitch.DropReason { return &r }
	for name, c := range map[string]struct {
		fill func(slot)
		want *vswitch.DropReason // nil: dropped silently
	}{
		"own frame":              {func(s slot) { setSlot(s, user, 60, 60, 82); s[slotPktType] = unix.PACKET_OUTGOING }, nil},
		"frame over the header":  {func(s slot) { setSlot(s, user, 60, 60, 32) }, drop(vswitch.DropBadChain)},
		"no room for a tag":      {func(s slot) { setSlot(s, user, 60, 60, slotGap+slotRoom-1) }, drop(vswitch.DropBadChain)},
		"begins behind the slot": {func(s slot) { setSlot(s, user, 60, 60, 65535) }, drop(vswitch.DropBadChain)},
		"ends behind the slot":   {func(s slot) { setSlot(s, user, 2000, 2000, 82) }, drop(vswitch.DropBadChain)},
		"absurdly long":          {func(s slot) { setSlot(s, user, 1<<32-1, 1<<32-1, 82) }, drop(vswitch.DropBadChain)},
		"more than the frame":    {func(s slot) { setSlot(s, user, 59, 60, 82) }, drop(vswitch.DropBadChain)},
		"truncated":              {func(s slot) { setSlot(s, user, 3000, 1966, 82) }, drop(vswitch.DropRingFull)},
		"copy that is not there": {func(s slot) { setSlot(s, user|unix.TP_STATUS_COPY, 3000, 1966, 82) }, drop(vswitch.DropRingFull)},
		"no Ethernet header":     {func(s slot) { setSlot(s, user, 13, 13, 82) }, drop(vswitch.DropTooShort)},
		"tag, but no addresses":  {func(s slot) { setSlot(s, user|unix.TP_STATUS_VLAN_VALID, 11, 11, 82) }, drop(vswitch.DropTooShort)},
		"checksum behind frame": {func(s slot) {
			setSlot(s, user, 60, 60, 82)
			h := s[82-vnetHdrLen:]
			h[0] = vswitch.HdrNeedsCsum
			binary.NativeEndian.PutUint16(h[6:], 50)
			binary.NativeEndian.PutUint16(h[8:], 9)
		}, drop(vswitch.DropBadOffload)},
		"checksum start wraps with the tag": {func(s slot) {
			setSlot(s, user|unix.TP_STATUS_VLAN_VALID, 60, 60, 82)
			h := s[82-vnetHdrLen:]
			h[0] = vswitch.HdrNeedsCsum
			binary.NativeEndian.PutUint16(h[6:], 65534)
		}, drop(vswitch.DropBadOffload)},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t}
			rx := fakeRing(r, c.fill)
			if n := rx.Poll(); n != 1 {
				t.Fatalf("Poll took %d slots", n)
			}
			if len(r.frames) != 0 {
				t.Errorf("delivered %+v", r.frames)
			}
			var want map[string]uint64 = map[string]uint64{}
			if c.want != nil {
				want[c.want.String()] = 1
			}
			if d := cmp.Diff(want, r.counters.DropsByName()); d != "" {
				t.Errorf("drops (-want +got):\n%s", d)
			}
			if rx.ring.status(0) != unix.TP_STATUS_KERNEL {
				t.Error("slot was not handed back")
			}
			if n := rx.Poll(); n != 0 {
				t.Errorf("second Poll took %d slots", n)
			}
		})
	}
}
