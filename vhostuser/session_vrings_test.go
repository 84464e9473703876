package vhostuser_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

func TestRingPassesBuffersWhateverIsNegotiated(t *testing.T) {
	for name, c := range map[string]struct{ features, proto uint64 }{
		"all":                  {allVirtio, allProto},
		"without memory slots": {allVirtio, mq | replyAck},
		"without REPLY_ACK":    {allVirtio, mq | memSlots},
		"no protocol features": {version1, 0},
		"none at all":          {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newDevice(2))
			mem := h.negotiate(c.features, c.proto)
			rx, tx := h.ring(mem, 0), h.ring(mem, 1)
			h.must(h.fe.StartRing(rx))
			h.must(h.fe.StartRing(tx))
			for range 200 {
				pass(t, rx)
				pass(t, tx)
			}
		})
	}
}

func TestGetVringBaseStopsRing(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	for range 5 {
		pass(t, r)
	}
	base, err := h.fe.StopRing(r)
	h.must(err)
	if base != 5 {
		t.Errorf("base %d, want 5", base)
	}
	if v := h.vring(0); v.Started || v.Running || v.Kick != -1 || !v.Enabled {
		t.Errorf("stopped ring is %+v", v)
	}
	offer(t, r)
	h.must(r.Kick())
	if err := vhostusertest.WaitEventFD(r.KickFD, 0); err != nil {
		t.Error("the kick of a stopped ring was consumed:", err)
	}

	// Chains that were offered meanwhile are found when the ring is started again.
	h.must(h.fe.StartRingAt(r, base))
	expectUsed(t, r)
}

func TestGetVringBaseOfRingThatNeverExisted(t *testing.T) {
	h := serve(t, newDevice(4))
	h.must(h.fe.Handshake(allVirtio, allProto))
	base, err := h.fe.StopRing(&vhostusertest.Ring{Index: 3})
	if err != nil || base != 0 {
		t.Errorf("base %d, %v", base, err)
	}
}

func TestSetVringBaseSetsAvailAlone(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	r.Driver.SetUsed(0, 77)
	r.Driver.SetAvail(0, 80)
	h.must(h.fe.StartRingAt(r, 80))
	base, err := h.fe.StopRing(r)
	h.must(err)
	if base != 80 {
		t.Errorf("base %d, want 80", base)
	}
	if _, used := r.Driver.Used(); used != 77 {
		t.Errorf("used index %d, want the 77 that was in guest memory", used)
	}
}

// The back-end was killed. QEMU sends the used index as the base, DPDK's virtio-user 0. Chains that
// the back-end had popped and not completed are popped again.
func TestSequentialDeviceGoesOnFromUsedIndexAfterACrash(t *testing.T) {
	for name, base := range map[string]uint32{"base of QEMU": 5, "base of DPDK": 0, "stale base": 3} {
		t.Run(name, func(t *testing.T) {
			dev := newFullDevice(2)
			dev.sequential = true
			h := serveFull(t, dev)
			mem := h.negotiate(allVirtio, allProto)
			r := h.ring(mem, 0)
			r.Driver.Abandon(5)
			offer(t, r)
			offer(t, r)
			h.must(h.fe.StartRingAt(r, base))
			expectUsed(t, r)
			expectUsed(t, r)
			if base, err := h.fe.StopRing(r); err != nil || base != 7 {
				t.Errorf("base %d, %v", base, err)
			}
		})
	}
}

func TestVringIndexIsCheckedAtItsWholeWidth(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fd, err := vhostusertest.NewEventFD()
	h.must(err)
	defer unix.Close(fd)
	for _, i := range []uint32{2, 256, 1 << 16, 1<<16 + 1, 1 << 31, 1<<32 - 1} {
		h.refused(vhostuser.SetVringNum, state(i, 64))
		h.refused(vhostuser.SetVringBase, state(i, 0))
		h.refused(vhostuser.SetVringEnable, state(i, 1))
		h.refused(vhostuser.SetVringAddr, vhostuser.VringAddr{Index: i}.AppendTo(nil))
	}
	for _, v := range []uint64{2, 0xff, 1 << 9, 1 << 16, 1<<32 + 1, 1 << 63} {
		h.refused(vhostuser.SetVringKick, u64(v), fd)
		h.refused(vhostuser.SetVringCall, u64(v), fd)
		h.refused(vhostuser.SetVringErr, u64(v), fd)
	}
	// A refusal would be mistaken for the specific reply of this message.
	h.must(h.fe.Send(vhostuser.GetVringBase, vhostuser.FlagNeedReply, state(1<<16, 0)))
	h.endsWith(vhostuser.ErrRefused)
}

func TestBadRingSizes(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	for _, size := range []uint32{0, 3, 100, 32769, 65536, 1 << 31, 1<<32 - 1} {
		h.refused(vhostuser.SetVringNum, state(0, size))
	}
	for _, size := range []uint32{1, 2, 256, 32768} {
		h.do(vhostuser.SetVringNum, state(0, size))
	}
}

// A size is checked when it is set, against the format that is negotiated then; and again when the
// ring starts, possibly in the other format.
func TestSizeOfPackedRingInSplitRing(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio|packed, allProto)
	r := h.ring(mem, 0)
	h.do(vhostuser.SetVringNum, state(0, 60))
	h.do(vhostuser.SetFeatures, u64(allVirtio))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
	h.refused(vhostuser.SetVringKick, file(0), r.KickFD)
	if v := h.vring(0); v.Started || v.Running {
		t.Errorf("refused ring is %+v", v)
	}
}

func TestBadRingSetUp(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.refused(vhostuser.SetVringKick, file(0), r.KickFD) // no size, no address
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.refused(vhostuser.SetVringKick, file(0), r.KickFD) // no address

	good := vhostusertest.RingAddr(0, r.Driver.Config())
	for name, change := range map[string]func(a *vhostuser.VringAddr){
		"outside memory":   func(a *vhostuser.VringAddr) { a.Desc = 0x1000 },
		"guest address":    func(a *vhostuser.VringAddr) { a.Used = mem.Region.GuestAddr },
		"misaligned table": func(a *vhostuser.VringAddr) { a.Desc += 8 },
		"misaligned used":  func(a *vhostuser.VringAddr) { a.Used += 2 },
		"misaligned avail": func(a *vhostuser.VringAddr) { a.Avail++ },
		"end of memory":    func(a *vhostuser.VringAddr) { a.Avail = mem.Region.UserAddr + mem.Region.Size - 2 },
		"end of addresses": func(a *vhostuser.VringAddr) { a.Desc = 1<<64 - 16 },
	} {
		bad := good
		change(&bad)
		h.do(vhostuser.SetVringAddr, bad.AppendTo(nil))
		if err := h.fe.Do(vhostuser.SetVringKick, file(0), r.KickFD); err == nil {
			t.Errorf("%s: ring was started", name)
		}
		if v := h.vring(0); v.Started || v.Running || v.Kick != -1 {
			t.Errorf("%s: refused ring is %+v", name, v)
		}
	}
	h.refused(vhostuser.SetVringBase, state(0, 0x10000))
	h.refused(vhostuser.SetVringEnable, state(0, 2))

	h.must(h.fe.StartRing(r))
	pass(t, r)

	// The configuration of a running ring may be repeated, but not changed.
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.do(vhostuser.SetVringAddr, good.AppendTo(nil))
	h.refused(vhostuser.SetVringNum, state(0, 128))
	h.refused(vhostuser.SetVringBase, state(0, 0))
	good.Desc += 4096
	h.refused(vhostuser.SetVringAddr, good.AppendTo(nil))
	pass(t, r)
}

func TestDeviceMayRefuseRing(t *testing.T) {
	dev := newDevice(2)
	dev.startErr = unix.ENOSPC
	h := serve(t, dev)
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	if err := h.fe.StartRing(r); err == nil {
		t.Error("ring was started")
	}
	if v := h.vring(0); v.Started || v.Running {
		t.Errorf("refused ring is %+v", v)
	}
}

func TestRingStartsOnSetVringKick(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	cfg := r.Driver.Config()
	offer(t, r)
	h.do(vhostuser.SetVringCall, file(0), r.CallFD)
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, cfg).AppendTo(nil))
	h.do(vhostuser.SetVringKick, file(0), r.KickFD)
	expectUsed(t, r) // without a kick
}

func TestRingWithoutKickAndCall(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, r.Driver.Config()).AppendTo(nil))
	h.do(vhostuser.SetVringCall, noFile(0))
	h.do(vhostuser.SetVringErr, noFile(0))
	h.do(vhostuser.SetVringKick, noFile(0))
	offer(t, r)
	for { // the device polls, and so does the driver
		if _, _, ok := r.Driver.PollUsed(); ok {
			break
		}
	}
	if r.Called() {
		t.Error("driver was signalled by a descriptor that it did not pass")
	}
	// From here on the driver has an eventfd for signals, and is signalled at once.
	h.do(vhostuser.SetVringCall, file(0), r.CallFD)
	h.must(r.WaitCall())
	// Now it has none again.
	h.do(vhostuser.SetVringCall, noFile(0))
	if v := h.vring(0); v.Call != -1 {
		t.Errorf("call descriptor %d is still there", v.Call)
	}
}

// Whatever the driver has asked for, and whether or not the device does anything: an earlier signal
// may have been lost.
func TestDriverIsSignalledOnceAfterStartAndAfterSetVringCall(t *testing.T) {
	dev := newDevice(2)
	dev.idle = true
	h := serve(t, dev)
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	r.Driver.Disarm()
	h.must(h.fe.StartRing(r))
	h.must(r.WaitCall())
	if r.Called() {
		t.Error("signalled twice")
	}
	h.do(vhostuser.SetVringCall, file(0), r.CallFD)
	h.must(r.WaitCall())
	if _, err := h.fe.StopRing(r); err != nil {
		t.Fatal(err)
	}
	h.do(vhostuser.SetVringCall, file(0), r.CallFD)
	if r.Called() {
		t.Error("signalled for a stopped ring")
	}
}

// A region at user address 0 must not make addresses that were never set valid for a ring.
func TestRingWithoutAddressesIsNotStarted(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	mem := h.more(1 << 20)
	mem.Region.UserAddr = 0
	h.must(h.fe.ShareMemory())
	h.do(vhostuser.SetVringNum, state(0, 64))
	h.refused(vhostuser.SetVringKick, noFile(0))
}

func TestNoFDBitAndDescriptorsMustAgree(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fd, err := vhostusertest.NewEventFD()
	h.must(err)
	defer unix.Close(fd)
	for _, r := range []vhostuser.Request{vhostuser.SetVringKick, vhostuser.SetVringCall, vhostuser.SetVringErr} {
		h.refused(r, file(0))
		h.refused(r, noFile(0), fd)
		h.refused(r, file(0), fd, fd)
	}
}

func TestOnlyEventFDsAreSignalled(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	var pipe [2]int
	h.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	mem, err := h.fe.NewMemory(4096)
	h.must(err)
	for _, fd := range []int{pipe[0], pipe[1], mem.FD} {
		h.refused(vhostuser.SetVringCall, file(0), fd)
		h.refused(vhostuser.SetVringErr, file(0), fd)
	}
}

func TestErrDescriptorIsKeptUntilItIsReplaced(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fds := eventFDs(t, 2)
	for _, fd := range fds {
		before := vhostusertest.OpenFiles(t)
		h.do(vhostuser.SetVringErr, file(1), fd)
		if n := vhostusertest.OpenFiles(t); fd == fds[1] && n != before {
			t.Errorf("%d file descriptors are open, %d before", n, before)
		}
	}
	if v := h.vring(1); v.Err < 0 {
		t.Error("there is none")
	}
}

func TestBlockingEventFDIsMadeNonBlocking(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	h.must(err)
	defer unix.Close(fd)
	h.do(vhostuser.SetVringCall, file(0), fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	h.must(err)
	if flags&unix.O_NONBLOCK == 0 {
		t.Error("a signal could block")
	}
}

func TestRingWithoutProtocolFeaturesStartsEnabled(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(version1, 0)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	if got, want := h.dev.events.String(), "started 0 enabled=true"; !strings.Contains(got, want) {
		t.Errorf("device has seen %s, want %s", got, want)
	}
}

func TestRingWithProtocolFeaturesStartsDisabled(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	if got, want := h.dev.events.String(), "started 0 enabled=false kick=true, enabled 0 true"; !strings.Contains(got, want) {
		t.Errorf("device has seen %s, want %s", got, want)
	}
}

func TestEnableBeforeStartAndBeforeSetFeatures(t *testing.T) {
	// QEMU enables the first queue pair before it has sent SET_FEATURES, and DPDK's virtio-user
	// enables queues before it starts them.
	h := serve(t, newDevice(2))
	h.do(vhostuser.SetVringEnable, state(0, 1))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	if got, want := h.dev.events.String(), "started 0 enabled=true"; !strings.Contains(got, want) {
		t.Errorf("device has seen %s, want %s", got, want)
	}
	h.must(h.fe.EnableRing(r, false))
	h.must(h.fe.EnableRing(r, false))
	if got := h.dev.events.String(); strings.Count(got, "enabled 0 false") != 1 {
		t.Errorf("device has seen %s, want one disabling", got)
	}
}

func TestKickDescriptorIsReplacedOnRunningRing(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	fd, err := vhostusertest.NewEventFD()
	h.must(err)
	h.do(vhostuser.SetVringKick, file(0), fd)
	h.must(unix.Close(r.KickFD))
	r.KickFD = fd
	for range 5 {
		pass(t, r)
	}
}

func TestCallDescriptorIsReplacedUnderTraffic(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	for range 100 {
		offer(t, r)
		h.must(r.Kick())
		fd, err := vhostusertest.NewEventFD()
		h.must(err)
		h.do(vhostuser.SetVringCall, file(0), fd)
		h.must(unix.Close(r.CallFD))
		r.CallFD = fd
		expectUsed(t, r)
	}
	if got := strings.Count(h.dev.events.String(), "quiesce"); got != 100 {
		t.Errorf("the device was quiesced %d times, want 100", got)
	}
}
