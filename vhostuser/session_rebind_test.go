package vhostuser_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// setUp starts a ring for a new driver, by the given messages first and the others after.
func (h *harness) setUp(r *vhostusertest.Ring, base uint32, first ...vhostuser.Request) {
	h.t.Helper()
	i, cfg := uint32(r.Index), r.Driver.Config()
	for _, m := range first {
		switch m {
		case vhostuser.SetVringNum:
			h.do(m, state(i, uint32(cfg.Size)))
		case vhostuser.SetVringBase:
			h.do(m, state(i, base))
		case vhostuser.SetVringAddr:
			h.do(m, vhostusertest.RingAddr(r.Index, cfg).AppendTo(nil))
		}
	}
	h.do(vhostuser.SetVringCall, file(uint8(i)), r.CallFD)
	h.do(vhostuser.SetVringKick, file(uint8(i)), r.KickFD)
	h.do(vhostuser.SetVringEnable, state(i, 1))
}

// User Mode Linux ends a driver by SET_VRING_ENABLE 0 alone, and sets the rings up again when
// another driver comes. It always sends the same messages; their order must not matter.
func TestDisabledRingIsSetUpForAnotherDriver(t *testing.T) {
	const num, base, addr = vhostuser.SetVringNum, vhostuser.SetVringBase, vhostuser.SetVringAddr
	for format, features := range map[string]uint64{"split": allVirtio, "packed": allVirtio | packed} {
		for _, sequential := range []bool{false, true} {
			for _, order := range [][]vhostuser.Request{{num, base, addr}, {base, addr, num}, {addr, num, base}} {
				t.Run(fmt.Sprintf("%s, sequential %v, %v first", format, sequential, order[0]), func(t *testing.T) {
					dev := newFullDevice(2)
					dev.sequential = sequential
					h := serveFull(t, dev)
					mem := h.negotiate(features, plainProto)
					for driver := range 4 {
						r := h.ring(mem, 0)
						h.setUp(r, 0, order...)
						for range 100 * driver { // laps of 64
							pass(t, r)
						}
						h.must(h.fe.EnableRing(r, false))
						if v := h.vring(0); !v.Started || !v.Running {
							t.Errorf("disabled ring is %+v", v)
						}
					}
					h.fe.Close()
					if err := h.wait(); !errors.Is(err, vhostuser.ErrDisconnected) || errors.Is(err, vhostuser.ErrDied) {
						t.Errorf("the session has ended with %v, but its front-end exited in an orderly way", err)
					}
				})
			}
		}
	}
}

// A device that keeps state for a driver is notified of the driver's end if only the set-up of its
// rings for another driver shows it. It is not notified while one of the rings is in use, nor when
// the rings are stopped in an orderly way, after which the same driver may continue.
func TestDeviceIsNotifiedOfTheEndOfADriver(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	a, b := h.ring(mem, 0), h.ring(mem, 1)
	heard := func(when string, want int) {
		t.Helper()
		if n := strings.Count(h.dev.events.String(), "driver ended"); n != want {
			t.Errorf("%s: the device was notified of %d ends, want %d", when, n, want)
		}
	}
	h.must(h.fe.StartRing(a))
	h.must(h.fe.StartRing(b))
	base, err := h.fe.StopRing(a)
	h.must(err)
	h.must(h.fe.StartRingAt(a, base))
	heard("after GET_VRING_BASE", 0)
	h.must(h.fe.EnableRing(a, false))
	h.must(h.fe.StartRing(a))
	heard("while another ring is in use", 0)
	h.must(h.fe.EnableRing(a, false))
	h.must(h.fe.EnableRing(b, false))
	heard("before another driver comes", 0)
	h.must(h.fe.StartRing(a))
	heard("when another driver comes", 1)
	h.must(h.fe.StartRing(b))
	heard("when that has a ring in use", 1)
}

// Each of the messages suffices to make the device release the ring and its eventfd.
func TestDisabledRingIsStoppedByWhatSetsItUp(t *testing.T) {
	for name, c := range map[string]struct {
		request vhostuser.Request
		payload func(r, other *vhostusertest.Ring) []byte
	}{
		"NUM":       {vhostuser.SetVringNum, func(_, _ *vhostusertest.Ring) []byte { return state(0, 32) }},
		"same NUM":  {vhostuser.SetVringNum, func(_, _ *vhostusertest.Ring) []byte { return state(0, 64) }},
		"BASE":      {vhostuser.SetVringBase, func(_, _ *vhostusertest.Ring) []byte { return state(0, 0) }},
		"same BASE": {vhostuser.SetVringBase, func(_, _ *vhostusertest.Ring) []byte { return state(0, 1) }},
		"ADDR": {vhostuser.SetVringAddr, func(_, other *vhostusertest.Ring) []byte {
			return vhostusertest.RingAddr(0, other.Driver.Config()).AppendTo(nil)
		}},
		"SET_FEATURES": {vhostuser.SetFeatures, func(_, _ *vhostusertest.Ring) []byte { return u64(version1 | protocol) }},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newDevice(2))
			mem := h.negotiate(allVirtio, plainProto)
			r, other := h.ring(mem, 0), h.ring(mem, 0)
			h.must(h.fe.StartRing(r))
			pass(t, r)
			h.must(h.fe.EnableRing(r, false))
			h.do(c.request, c.payload(r, other))
			if v := h.vring(0); v.Started || v.Running || v.Kick != -1 || v.Enabled {
				t.Errorf("the ring is %+v", v)
			}
			if seen := h.dev.events.String(); strings.Count(seen, "stopped 0") != 1 {
				t.Errorf("device has seen %s", seen)
			}
		})
	}
}

// One enabled ring shows that there is a driver, whose features cannot change.
func TestFeaturesStayWhileOneRingIsInUse(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	a, b := h.ring(mem, 0), h.ring(mem, 1)
	h.must(h.fe.StartRing(a))
	h.must(h.fe.StartRing(b))
	h.must(h.fe.EnableRing(a, false))
	h.refused(vhostuser.SetFeatures, u64(version1|protocol))
	h.do(vhostuser.SetFeatures, u64(h.fe.Features))
	pass(t, b)
	h.must(h.fe.EnableRing(a, true))
	pass(t, a)
}

// QEMU switches the logging of all rings while a guest that uses few of its queues runs.
func TestLoggingOfDisabledRingIsSwitched(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	h.must(h.fe.SetLogBase(h.newLog(endOfMemory, 0)))
	h.must(h.fe.LogAll(true))
	h.must(h.fe.EnableRing(r, false))
	h.must(h.fe.LogRing(r, true))
	h.must(h.fe.LogRing(r, false))
	if v := h.vring(0); !v.Started || !v.Running {
		t.Errorf("the ring is %+v", v)
	}
	h.must(h.fe.EnableRing(r, true))
	pass(t, r)
}

// With in-band notifications no eventfd starts a ring: the first VRING_KICK does, also
// for another driver.
func TestDisabledRingIsSetUpForAnotherDriverInBand(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	mem := h.negotiate(allVirtio|packed, everyProto)
	ch := h.openChannel()
	for range 3 {
		r := h.ring(mem, 0)
		h.do(vhostuser.SetVringNum, state(0, 64))
		h.do(vhostuser.SetVringBase, state(0, 0))
		h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
		h.do(vhostuser.SetVringEnable, state(0, 1))
		for range 100 {
			offer(t, r)
			h.do(vhostuser.VringKick, state(0, 0))
			used(t, r, func() {
				request, _, err := ch.Recv()
				h.must(err)
				h.must(ch.Reply(request, 0))
			})
		}
		h.must(h.fe.EnableRing(r, false))
	}
}

// used waits until the device has used a chain. wait waits for a signal.
func used(t *testing.T, r *vhostusertest.Ring, wait func()) {
	t.Helper()
	for {
		if head, _, ok := r.Driver.PollUsed(); ok {
			r.Driver.Release(head)
			return
		}
		if !r.Driver.Arm() {
			wait()
		}
	}
}

// Old front-ends send RESET_OWNER when they stop, and nothing else.
func TestResetOwnerDisablesRings(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	for range 3 {
		r := h.ring(mem, 0)
		h.must(h.fe.StartRing(r))
		pass(t, r)
		h.do(vhostuser.ResetOwner, nil)
		if v := h.vring(0); v.Enabled {
			t.Errorf("after RESET_OWNER the ring is %+v", v)
		}
	}
}

// "the device event suppression structure ... wrap counters [are] initialized to 1" (virtio 1.2,
// section 2.8.1): the wrap counters that a front-end sends do not matter in an unused ring, whether
// or not the driver has already made descriptors available there.
func TestUnusedPackedRingBeginsWithWrapCountersOf1(t *testing.T) {
	for _, size := range []int{1, 2, 5, 64} {
		for _, waiting := range []int{0, 1, size} {
			for _, base := range []uint32{0, 1 << 15, virtqueue.PackedStart, 1 << 31} {
				t.Run(fmt.Sprintf("size %d, %d waiting, base %#x", size, waiting, base), func(t *testing.T) {
					h := serve(t, newDevice(2))
					mem := h.negotiate(allVirtio|packed, plainProto)
					r := h.packedRing(mem, 0, size)
					for range waiting {
						offer(t, r)
					}
					h.must(h.fe.StartRingAt(r, base))
					for range waiting {
						expectUsed(t, r)
					}
					for range 3 * size {
						pass(t, r)
					}
					got, err := h.fe.StopRing(r)
					h.must(err)
					laps := (waiting + 3*size) / size
					want := uint32((waiting+3*size)%size) | uint32(1-laps%2)<<15
					if got != want|want<<16 {
						t.Errorf("stopped at %#x, want %#x in each half", got, want)
					}
				})
			}
		}
	}
}

// A used ring continues at the base from the front-end, at the end of any lap.
func TestUsedPackedRingGoesOnAtItsBase(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio|packed, plainProto)
	r := h.packedRing(mem, 0, 4)
	h.must(h.fe.StartRing(r))
	for lap := range 5 {
		for range 4 {
			pass(t, r)
		}
		base, err := h.fe.StopRing(r)
		h.must(err)
		if want := uint32(lap%2) * virtqueue.PackedStart; base != want {
			t.Fatalf("lap %d: base %#x, want %#x", lap, base, want)
		}
		h.must(h.fe.StartRingAt(r, base))
	}
}

// The kick eventfd of a ring that was ended implicitly is closed.
func TestDisabledRingGivesItsEventFDBack(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	before := vhostusertest.OpenFiles(t)
	for range 10 {
		h.must(h.fe.EnableRing(r, false))
		h.do(vhostuser.SetVringBase, state(0, 0))
		h.must(h.fe.StartRing(r))
	}
	if n := vhostusertest.OpenFiles(t); n != before {
		t.Errorf("%d file descriptors are open, %d before", n, before)
	}
}
