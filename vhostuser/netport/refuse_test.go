package netport_test

import (
	"bytes"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// transmit passes frames to the guest's port as the switch does, and returns the reasons for which
// the port has refused them.
func (g *guest) transmit(frames ...*vswitch.Frame) (refusals []string) {
	_, refusals = vswitchtest.Transmit(g.port.Transmit, g.counters, frames...)
	return refusals
}

// refuses checks for which reasons the guest's port refuses frames; "" means that it accepts one.
func (g *guest) refuses(frames []*vswitch.Frame, want ...string) {
	g.Helper()
	if d := cmp.Diff(want, g.transmit(frames...)); d != "" {
		g.Errorf("refused (-want +got):\n%s", d)
	}
	accepted := 0
	for _, reason := range want {
		if reason == "" {
			accepted++
		}
	}
	if n := g.counters.TxFrames.Load(); n != uint64(accepted) {
		g.Errorf("%d frames are counted as sent, want %d", n, accepted)
	}
}

// framesFor makes frames for a guest, of these lengths. Length 0 stands for a frame whose body
// cannot be read.
func framesFor(t *testing.T, g *guest, lengths ...int) (frames []*vswitch.Frame) {
	t.Helper()
	for _, n := range lengths {
		f := vswitchtest.Frame(frameBetween(g.n+1, g.n, max(n, 200)))
		if n == 0 {
			f.Body = [][]byte{vanished(t)[:len(f.Body[0])]}
		}
		frames = append(frames, &f)
	}
	return frames
}

// The port names each frame that it does not accept, and the reason.
func TestRefusedFramesAreNamed(t *testing.T) {
	const short, full, fault = "buffers-too-small", "ring-full", "memory-fault"
	for _, tt := range []struct {
		name    string
		buffers []int // that the driver has posted; MRG_RXBUF is not negotiated
		lengths []int // of the frames
		want    []string
	}{
		{"all accepted", []int{300, 300}, []int{100, 200}, []string{"", ""}},
		{"no buffers left", []int{300, 300}, []int{100, 200, 100, 100}, []string{"", "", full, full}},
		{"no buffers ever", nil, []int{100, 100}, []string{full, full}},
		{"too long", []int{300, 300, 300}, []int{1000, 100, 1000, 100}, []string{short, "", short, ""}},
		{"too long, then no buffers", []int{300}, []int{1000, 100, 1000}, []string{short, "", full}},
		{"memory of the sender", []int{300, 300, 300}, []int{200, 0, 200}, []string{"", fault, ""}},
		{"much memory of the sender", []int{300, 300, 300}, []int{200, 0, 0, 0, 0, 200}, []string{"", fault, fault, fault, fault, fault}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			b := newLab(t).newGuest(guestConfig{features: version1, fault: func(uintptr) {}})
			for _, n := range tt.buffers {
				b.post(b.rx[0], 1, n)
			}
			b.refuses(framesFor(t, b, tt.lengths...), tt.want...)
		})
	}
}

// Without a driver, no frame is accepted.
func TestFramesAreRefusedWithoutDriver(t *testing.T) {
	b := newLab(t).newGuest(guestConfig{parked: true})
	b.refuses(framesFor(t, b, 100, 100), "port-down", "port-down")
}

// Frames that the guest's filter rejects are named.
func TestFilteredFramesAreNamed(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	c.ok(promisc, 0)
	var frames []*vswitch.Frame
	var want []string
	for i := range 2 * vswitch.MaxBatch {
		to, refusal := ownMAC, ""
		if i%3 == 1 {
			to, refusal = strangerA, "guest-filter"
		}
		f := vswitchtest.Frame(vswitchtest.Ether(to, vswitchtest.Station(7), make([]byte, 60)))
		frames, want = append(frames, &f), append(want, refusal)
	}
	c.refuses(frames, want...)
}

// Each of several receiveqs names the frames that it refuses.
func TestRefusalsOfSeveralQueues(t *testing.T) {
	b := newLab(t).newGuest(guestConfig{queues: 2})
	b.post(b.rx[0], 3, 300)
	b.post(b.rx[1], 5, 300)
	var frames []*vswitch.Frame
	var all [][]byte
	for i := range 40 {
		raw := frameBetween(100+i, b.n, 100)
		f := vswitchtest.Frame(raw)
		all, frames = append(all, raw), append(frames, &f)
	}
	refusals := b.transmit(frames...)
	var arrived [][]byte
	for _, r := range b.rx {
		for f, ok := b.receive(r); ok; f, ok = b.receive(r) {
			arrived = append(arrived, f.frame)
		}
	}
	if len(arrived) != 8 {
		t.Errorf("%d frames have arrived, want 8", len(arrived))
	}
	for i, raw := range all {
		want := "ring-full"
		if slices.ContainsFunc(arrived, func(a []byte) bool { return bytes.Equal(a, raw) }) {
			want = ""
		}
		if refusals[i] != want {
			t.Errorf("frame %d: %q, want %q", i, refusals[i], want)
		}
	}
}

// If the guest's memory vanishes while a group of frames is copied, the frames that have been
// copied already are lost as well. A frame that was refused for another reason keeps that reason.
func TestVanishingMemoryLosesTheGroup(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b := newLab(t).connect(guestConfig{features: version1})
	b.post(b.rx[0], 1, 300)
	b.rx[0].Alloc(8192) // the next buffer is in another page
	b.post(b.rx[0], 2, 300)
	b.must(b.data.Truncate(4096))
	b.refuses(framesFor(t, b, 1000, 100, 100, 100), "buffers-too-small", "memory-fault", "memory-fault", "memory-fault")
	b.dropped(map[vswitch.DropReason]uint64{vswitch.DropNoFit: 1, vswitch.DropFault: 3})
	b.faulted()
}

// A ring that breaks the rules takes no frame of the group.
func TestBrokenRingRefusesTheGroup(t *testing.T) {
	b := newLab(t).newGuest(guestConfig{})
	b.rx[0].SetAvailIdx(uint16(b.cfg.size + 1))
	b.refuses(framesFor(t, b, 100, 100, 100), "memory-fault", "memory-fault", "memory-fault")
}
