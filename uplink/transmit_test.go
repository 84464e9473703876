package uplink

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// noTxOffloads makes up0 a NIC that computes no checksums and cuts no segments.
func noTxOffloads(t testing.TB) {
	ethtool(t, nearName, ethtoolSTSO, 0)
	ethtool(t, nearName, ethtoolSTxCsum, 0)
}

// wantCounters checks all counters of what went out.
func (r *rig) wantCounters(frames, bytes uint64, drops map[string]uint64) {
	r.t.Helper()
	if f, b := r.counters.TxFrames.Load(), r.counters.TxBytes.Load(); f != frames || b != bytes {
		r.t.Errorf("counted %d frames of %d bytes, want %d of %d", f, b, frames, bytes)
	}
	if drops == nil {
		drops = map[string]uint64{}
	}
	if d := cmp.Diff(drops, r.counters.DropsByName()); d != "" {
		r.t.Errorf("drops (-want +got):\n%s", d)
	}
}

func TestTransmitBatchInPieces(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	var frames []*vswitch.Frame
	var want [][]byte
	var total uint64
	for i := range vswitch.MaxBatch + 7 {
		data := ethernet(farMAC, guestMAC, ethExperimental, i*7, i)
		f := frameOf(data, vswitch.Offload{}, 1+i%40)
		if i%5 == 0 {
			f.Body = append([][]byte{nil}, append(f.Body, []byte{})...)
		}
		frames, want, total = append(frames, f), append(want, data), total+uint64(len(data))
	}
	if n := r.transmit(frames...); n != len(frames) {
		t.Errorf("Transmit took %d of %d frames", n, len(frames))
	}
	for i := range want {
		if got := far.receive(); !bytes.Equal(got, want[i]) {
			t.Fatalf("frame %d arrived differently", i)
		}
	}
	r.wantCounters(uint64(len(frames)), total, nil)
}

func TestTransmitTagged(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	plain := ethernet(farMAC, guestMAC, ethExperimental, 1500, 0)
	one := tagged(plain, unix.ETH_P_8021Q, 42)
	two := tagged(tagged(plain[:1000], unix.ETH_P_8021Q, 42), unix.ETH_P_8021AD, 43)
	for _, want := range [][]byte{one, two} {
		r.transmit(frameOf(want, vswitch.Offload{}, 1))
		if got := far.receive(); !bytes.Equal(got, want) {
			t.Errorf("arrived as % x, want % x", got[:24], want[:24])
		}
	}
}

// TestTransmitOffloadsDoneByKernel sends what Caps promises to take to an interface that can do
// nothing of it, so that the kernel does it all, and looks at the result on the wire.
func TestTransmitOffloadsDoneByKernel(t *testing.T) {
	const ctag, stag = unix.ETH_P_8021Q, unix.ETH_P_8021AD
	l := newLab(t)
	noTxOffloads(t)
	r := begin(t, nil)
	far := l.station(false)
	caps := r.u.Caps()
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			proto   uint8
			n       int
			gso     uint8
			offered bool
		}{
			{protoTCP, 1000, vswitch.GSONone, caps.Csum},
			{protoUDP, 1000, vswitch.GSONone, caps.Csum},
			{protoTCP, 3000, gsoType(v6, protoTCP), caps.TSO4 && caps.TSO6},
			{protoTCP, 65400, gsoType(v6, protoTCP), caps.TSO4 && caps.TSO6},
			{protoTCP, 65400, gsoType(v6, protoTCP) | vswitch.GSOECN, caps.ECN},
			{protoUDP, 65400, vswitch.GSOUDPL4, caps.USO4 && caps.USO6},
		} {
			for _, types := range [][]uint16{{}, {ctag}, {stag}, {ctag, stag}, {ctag, ctag, stag}} {
				tags := len(types)
				name := fmt.Sprintf("IPv6=%v/protocol=%d/payload=%d/gso=%#x/tags=%x", v6, c.proto, c.n, c.gso, types)
				data, o := ipFrame(v6, c.proto, c.n)
				if c.gso != vswitch.GSONone {
					o.GSOType, o.GSOSize = c.gso, 1400
				}
				payload := data[o.HdrLen:]
				data = withTags(data, types...)
				o.CsumStart += uint16(4 * tags)
				o.HdrLen += uint16(4 * tags)
				if !c.offered {
					continue
				}
				if n := r.transmit(frameOf(data, o, 17)); n != 1 {
					t.Errorf("%s: refused: %v", name, r.counters.DropsByName())
					continue
				}
				var got []byte
				for len(got) < len(payload) {
					seg := far.receive()
					if len(seg) > 1514+4*tags {
						t.Fatalf("%s: frame of %d bytes on the wire", name, len(seg))
					}
					p, err := openIP(seg, 14+4*tags)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					got = append(got, p...)
				}
				if !bytes.Equal(got, payload) {
					t.Errorf("%s: payload arrived differently", name)
				}
			}
		}
	}
}

// TestTransmitUFO: the kernel cuts an UDP datagram into IP fragments.
func TestTransmitUFO(t *testing.T) {
	l := newLab(t)
	noTxOffloads(t)
	r := begin(t, nil)
	far := l.station(false)
	data, o := ipFrame(false, protoUDP, 5000)
	o.GSOType, o.GSOSize = vswitch.GSOUDP, 1480
	if n := r.transmit(frameOf(data, o, 3)); n != 1 {
		t.Fatalf("refused: %v", r.counters.DropsByName())
	}
	var datagram []byte
	for len(datagram) < 5008 {
		frag := far.receive()
		if len(frag) > 1514 || frag[23] != protoUDP {
			t.Fatalf("fragment of %d bytes, protocol %d", len(frag), frag[23])
		}
		datagram = append(datagram, frag[34:]...)
	}
	// The checksum is over the whole datagram.
	whole := slices.Concat(data[:34], datagram)
	if got, err := openIP(whole, 14); err != nil || !bytes.Equal(got, data[42:]) {
		t.Errorf("fragments make up another datagram: %v", err)
	}
}

// TestTransmitGSOWhole: between veths with offloads nothing is cut or summed.
func TestTransmitGSOWhole(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(true)
	data, o := ipFrame(false, protoTCP, 65400)
	o.GSOType, o.GSOSize = vswitch.GSOTCPv4, 1400
	r.transmit(frameOf(data, o, 3))
	got := far.receive()
	if !bytes.Equal(got[vnetHdrLen:], data) {
		t.Error("arrived differently")
	}
	if g := decodeVnetHdr(got); g.GSOType != o.GSOType || g.GSOSize != o.GSOSize || g.Flags != o.Flags {
		t.Errorf("offload %+v, want %+v", g, o)
	}
}

// TestTransmitHostileHeaderHint: hdr_len comes from the guest as it is.
func TestTransmitHostileHeaderHint(t *testing.T) {
	l := newLab(t)
	noTxOffloads(t)
	r := begin(t, nil)
	far := l.station(false)
	for _, hint := range []uint16{0, 1, 14, 54, 1000, 65535} {
		data, o := ipFrame(false, protoTCP, 3000)
		o.GSOType, o.GSOSize, o.HdrLen = vswitch.GSOTCPv4, 1400, hint
		if n := r.transmit(frameOf(data, o, 2)); n != 1 {
			t.Fatalf("hdr_len %d: refused: %v", hint, r.counters.DropsByName())
		}
		for range 3 {
			if _, err := openIP(far.receive(), 14); err != nil {
				t.Errorf("hdr_len %d: %v", hint, err)
			}
		}
	}
}

// truncatedMemory is a guest's memory whose file has become shorter than its mapping: reading it
// raises SIGBUS.
func truncatedMemory(t testing.TB, n int) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	return mem
}

// TestTransmitNamesRefusalsAndSendsOthers mixes frames that the kernel refuses, for every reason
// that a guest can bring about, with good ones, at every position.
func TestTransmitNamesRefusalsAndSendsOthers(t *testing.T) {
	l := newLab(t)
	gone := truncatedMemory(t, 4096)
	good := ethernet(farMAC, guestMAC, ethExperimental, 600, 0)
	bad := map[string]func() *vswitch.Frame{
		"memory-fault": func() *vswitch.Frame {
			f := frameOf(good, vswitch.Offload{}, 1)
			f.Body = append(f.Body, gone[100:200])
			f.Len += 100
			return f
		},
		"too-big": func() *vswitch.Frame {
			return frameOf(ethernet(farMAC, guestMAC, ethExperimental, 1600, 0), vswitch.Offload{}, 1)
		},
		"send-error": func() *vswitch.Frame {
			data, o := ipFrame(false, protoTCP, 3000)
			o.GSOType = vswitch.GSOTCPv4 // and GSOSize 0
			return frameOf(data, o, 1)
		},
	}
	for reason, frame := range bad {
		for _, pattern := range []string{"b", "bg", "gb", "gbg", "bbb", "gbbgbg", "bgggggb"} {
			t.Run(reason+"/"+pattern, func(t *testing.T) {
				r := begin(t, nil)
				defer r.u.Close()
				far := l.station(false)
				var frames []*vswitch.Frame
				var want []string
				var goods int
				for _, c := range pattern {
					if c == 'b' {
						frames, want = append(frames, frame()), append(want, reason)
					} else {
						frames, want = append(frames, frameOf(good, vswitch.Offload{}, 2)), append(want, "")
						goods++
					}
				}
				r.refuses(frames, want...)
				r.wantCounters(uint64(goods), uint64(goods*len(good)), map[string]uint64{reason: uint64(len(frames) - goods)})
				for range goods {
					if got := far.receive(); !bytes.Equal(got, good) {
						t.Error("a good frame arrived differently")
					}
				}
			})
		}
	}
}

// TestTransmitTooManyPieces: the kernel takes UIO_MAXIOV pieces and no more.
func TestTransmitTooManyPieces(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	far := l.station(false)
	data := ethernet(farMAC, guestMAC, ethExperimental, 1400, 0)
	inPieces := func(n int) *vswitch.Frame {
		f := &vswitch.Frame{Head: data[:128], Len: len(data)}
		rest := data[128:]
		for range n - 1 {
			f.Body = append(f.Body, rest[:1])
			rest = rest[1:]
		}
		f.Body = append(f.Body, rest)
		return f
	}
	most := maxIovecs - 2
	frames := []*vswitch.Frame{inPieces(most), inPieces(most + 1), inPieces(most), inPieces(1), inPieces(most)}
	r.refuses(frames, "", "too-big", "", "", "")
	for range 4 {
		if got := far.receive(); !bytes.Equal(got, data) {
			t.Error("arrived differently")
		}
	}
	r.wantCounters(4, uint64(4*len(data)), map[string]uint64{"too-big": 1})
}

func TestTransmitWithLinkDown(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	l.near(netlink.LinkSetDown)
	r.waitUp(false)
	f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 100, 0), vswitch.Offload{}, 1)
	r.refuses([]*vswitch.Frame{f, f, f}, "port-down", "port-down", "port-down")
	r.wantCounters(0, 0, map[string]uint64{"port-down": 3})
}

// TestTransmitToSlowLink: what the device cannot take is dropped at once and counted, whether the
// socket's buffer or the device's queue is what is full.
func TestTransmitToSlowLink(t *testing.T) {
	for name, queue := range map[string]uint32{"send buffer full": 1 << 30, "queue full": 5000} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			r := begin(t, nil)
			l.near(func(k netlink.Link) error {
				return netlink.QdiscAdd(&netlink.Tbf{
					QdiscAttrs: netlink.QdiscAttrs{LinkIndex: k.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
					Rate:       1000,    // bytes per second
					Buffer:     1 << 26, // of 64 ns: 4 s, or 4000 bytes at once
					Limit:      queue,
				})
			})
			if err := unix.SetsockoptInt(r.u.sock.out, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<16); err != nil {
				t.Fatal(err)
			}
			f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 1400, 0), vswitch.Offload{}, 1)
			batch := slices.Repeat([]*vswitch.Frame{f}, vswitch.MaxBatch)
			var sent, offered int
			for r.counters.Drops(vswitch.DropRingFull) == 0 {
				sent += r.transmit(batch...)
				if offered += len(batch); offered > 100000 {
					t.Fatal("the link takes everything")
				}
			}
			again := r.transmit(batch...)
			sent, offered = sent+again, offered+len(batch)
			if again == len(batch) {
				t.Error("a full queue took a whole batch")
			}
			r.wantCounters(uint64(sent), uint64(sent*f.Len), map[string]uint64{"ring-full": uint64(offered - sent)})
		})
	}
}

// TestTransmitFromSeveralWorkers with the link going away and coming back under them: every frame
// is counted exactly once.
func TestTransmitFromSeveralWorkers(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 1000, 0), vswitch.Offload{}, 3)
	batch := slices.Repeat([]*vswitch.Frame{f}, vswitch.MaxBatch)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var offered, sent uint64
	for range 4 {
		wg.Go(func() {
			var o, s uint64
			for {
				select {
				case <-quit:
					mu.Lock()
					offered, sent = offered+o, sent+s
					mu.Unlock()
					return
				default:
					o += uint64(len(batch))
					s += uint64(r.transmit(batch...))
					_ = r.u.Caps()
				}
			}
		})
	}
	for range 3 {
		l.delLink()
		r.waitUp(false)
		l.addLink()
		r.waitUp(true)
	}
	close(quit)
	wg.Wait()
	var dropped uint64
	for _, n := range r.counters.DropsByName() {
		dropped += n
	}
	if got := r.counters.TxFrames.Load(); got != sent || sent+dropped != offered || sent == 0 || dropped == 0 {
		t.Errorf("%d offered, %d sent, %d counted as sent, %d dropped", offered, sent, got, dropped)
	}
	if got := r.counters.TxBytes.Load(); got != sent*uint64(f.Len) {
		t.Errorf("%d bytes counted, want %d", got, sent*uint64(f.Len))
	}
}

func TestKernelRelease(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-37-amd64": false, "6.2.0": true, "6.18.44": true, "5.15.0": false, "7.0-rc1": true, "garbage": false, "": false,
	} {
		if got := atLeast(release, 6, 2); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

// TestUSOIfTheKernelTakesIt: what Caps says of USO is what the kernel does.
func TestUSOIfTheKernelTakesIt(t *testing.T) {
	newLab(t)
	r := begin(t, nil)
	data, o := ipFrame(false, protoUDP, 5000)
	o.GSOType, o.GSOSize = vswitch.GSOUDPL4, 1400
	taken := r.transmit(frameOf(data, o, 1)) == 1
	if caps := r.u.Caps(); taken != caps.USO4 || taken != caps.USO6 {
		t.Errorf("the kernel takes USO: %v, Caps: %+v", taken, caps)
	}
}
