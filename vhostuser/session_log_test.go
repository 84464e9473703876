package vhostuser_test

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

const (
	logShmFD = 1 << vhostuser.ProtocolFeatureLogShmFD
	logAll   = 1 << vhostuser.FeatureLogAll

	// endOfMemory is the end of the front-end's first piece of memory.
	endOfMemory = vhostusertest.FirstGuestAddr + 16<<20
)

// newLog makes a log that is closed at the end of the test.
func (h *harness) newLog(below, offset uint64) *vhostusertest.Log {
	h.t.Helper()
	l, err := vhostusertest.NewLogAt(below, offset)
	h.must(err)
	h.t.Cleanup(l.Close)
	return l
}

// passLogged passes a chain to the device and returns the pages of its writable buffer: 100 bytes
// that lie in two pages.
func (h *harness) passLogged(r *vhostusertest.Ring) []uint64 {
	h.t.Helper()
	buf := r.Driver.Alloc(4 * 4096)
	defer r.Driver.FreeBuf(buf)
	addr := (buf.Addr+2*4096-1)&^4095 - 50 + 4096 // outside the page of the rings
	_, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{{Addr: addr, Len: 100}})
	h.must(err)
	r.Driver.Publish()
	h.must(r.Kick())
	expectUsed(h.t, r)
	return []uint64{addr &^ 4095, addr&^4095 + 4096}
}

// marked expects exactly the given pages to be marked in the log, and those of used rings if
// usedRing is set; and clears the log. The ring is stopped and restarted first, so that the
// device has finished.
func (h *harness) marked(l *vhostusertest.Log, r *vhostusertest.Ring, usedRing bool, pages ...uint64) {
	h.t.Helper()
	base, err := h.fe.StopRing(r)
	h.must(err)
	if usedRing {
		pages = append(pages, h.fe.GuestAddr(r.Driver.Config().Used)&^4095)
	}
	slices.Sort(pages)
	pages = slices.Compact(pages)
	if got := l.Dirty(); !slices.Equal(got, pages) {
		h.t.Errorf("pages %#x are marked, want %#x", got, pages)
	}
	l.Clear()
	h.must(h.fe.StartRingAt(r, base))
}

// The order of messages that QEMU uses at the start of a migration, and at its end.
func TestLoggingIsSwitchedWhileRingsRun(t *testing.T) {
	for _, offset := range []uint64{0, 8192} {
		h := serve(t, newDevice(2))
		mem := h.negotiate(allVirtio, plainProto)
		r := h.ring(mem, 0)
		h.must(h.fe.StartRing(r))
		l := h.newLog(endOfMemory, offset)

		h.passLogged(r)
		h.must(h.fe.SetLogBase(l))
		h.passLogged(r)
		h.marked(l, r, false)
		h.must(h.fe.LogAll(true))
		h.marked(l, r, false, h.passLogged(r)...)
		h.must(h.fe.LogRing(r, true))
		h.marked(l, r, true, h.passLogged(r)...)
		h.marked(l, r, true, h.passLogged(r)...)
		h.must(h.fe.LogRing(r, false))
		l.Clear() // no more marks after this
		h.marked(l, r, false, h.passLogged(r)...)
		h.must(h.fe.LogAll(false))
		l.Clear()
		h.passLogged(r)
		h.marked(l, r, false)
		if st := h.dev.session.Load().Snapshot(); st.Log.FD < 0 || st.Log.Size != l.Base().Size || st.Log.Offset != offset {
			t.Errorf("log is %+v", st.Log)
		}
	}
}

func TestLogIsReplacedUnderTraffic(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	maps := vhostusertest.Mapped(t, "guest memory")
	var last *vhostusertest.Log
	for range 20 {
		l, err := vhostusertest.NewLog(endOfMemory)
		h.must(err)
		offer(t, r)
		h.must(r.Kick())
		h.must(h.fe.SetLogBase(l))
		h.must(h.fe.LogAll(true))
		expectUsed(t, r)
		if last != nil {
			last.Clear()
		}
		pages := h.passLogged(r)
		if last != nil {
			if got := last.Dirty(); len(got) != 0 {
				t.Errorf("pages %#x are marked in the log that was replaced", got)
			}
			last.Close()
		}
		last = l
		if got := l.Dirty(); !slices.Contains(got, pages[0]) || !slices.Contains(got, pages[1]) {
			t.Errorf("pages %#x are marked, want %#x among them", got, pages)
		}
	}
	last.Close()
	if n := vhostusertest.Mapped(t, "guest memory"); n != maps+1 {
		t.Errorf("%d mappings of logs, want 1", n-maps)
	}
}

// When a driver starts during a migration, QEMU switches logging on first, starts the rings, and
// only then sends SET_LOG_BASE.
func TestRingIsSuspendedUntilThereIsALog(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.LogAll(true))
	h.do(vhostuser.SetVringEnable, state(0, 1))
	r.Driver.Arm()
	buf := r.Driver.Alloc(100)
	_, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{buf})
	h.must(err)
	r.Driver.Publish()
	h.must(h.fe.LogRing(r, true))
	h.must(h.fe.StartRing(r))
	if v := h.vring(0); !v.Started || v.Running {
		t.Errorf("ring is %+v", v)
	}
	l := h.newLog(endOfMemory, 0)
	h.must(h.fe.SetLogBase(l))
	expectUsed(t, r)
	h.marked(l, r, true, buf.Addr&^4095)
}

// The same for rings that run when LOG_ALL is set before there is a log, and for a front-end that
// reverts LOG_ALL.
func TestRunningRingsAreSuspendedUntilThereIsALog(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.must(h.fe.LogAll(true))
	if v := h.vring(0); !v.Started || v.Running || v.Base != 1 {
		t.Errorf("ring is %+v", v)
	}
	h.must(h.fe.LogAll(false))
	pass(t, r)
	h.must(h.fe.LogAll(true))
	h.must(h.fe.SetMemTable(mem)) // does not start the ring
	if v := h.vring(0); v.Running {
		t.Errorf("ring is %+v", v)
	}
	if base, err := h.fe.StopRing(r); err != nil || base != 2 {
		t.Errorf("base %d, %v", base, err)
	}
}

// Some front-ends acknowledge everything that is offered, and never send a log.
func TestLogAllWithoutLogShmFD(t *testing.T) {
	for name, c := range map[string]struct{ features, proto uint64 }{
		"no protocol features": {version1 | logAll, 0},
		"without LOG_SHMFD":    {allVirtio | logAll, allProto},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newDevice(2))
			mem := h.negotiate(c.features, c.proto)
			if h.fe.Features&logAll == 0 {
				t.Fatal("LOG_ALL is not offered")
			}
			r := h.ring(mem, 0)
			h.must(h.fe.StartRing(r))
			pass(t, r)
		})
	}
}

func TestLogTooSmallForMemoryIsRefused(t *testing.T) {
	refusesBase := func(name string, h *harness, l *vhostusertest.Log, base vhostuser.LogBase) {
		t.Helper()
		// A refusal would be mistaken for the specific reply of this message, so the
		// connection is closed.
		_ = h.fe.Send(vhostuser.SetLogBase, vhostuser.FlagNeedReply, base.AppendTo(nil), l.FD())
		if err := h.wait(); !errors.Is(err, vhostuser.ErrRefused) {
			t.Errorf("%s: session ended with %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		log  uint64
		base func(good vhostuser.LogBase) vhostuser.LogBase
	}{
		"too small":            {endOfMemory - 8<<20, func(b vhostuser.LogBase) vhostuser.LogBase { return b }},
		"empty":                {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Size = 0; return b }},
		"offset behind file":   {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Offset = 1 << 40; return b }},
		"offset + size wraps":  {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Offset = -b.Size; return b }},
		"offset + size wraps'": {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Offset = 1<<64 - 4096; return b }},
		"size beyond file":     {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Size += 8; return b }},
		"endless":              {endOfMemory, func(b vhostuser.LogBase) vhostuser.LogBase { b.Size = 1<<64 - 1; return b }},
	} {
		h := serve(t, newDevice(2))
		h.negotiate(allVirtio, plainProto)
		l := h.newLog(c.log, 0)
		refusesBase(name, h, l, c.base(l.Base()))
	}

	// Memory may extend beyond the log, but not while the log is in use.
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	l := h.newLog(endOfMemory, 0)
	h.must(h.fe.SetLogBase(l))
	h.must(h.fe.LogAll(true))
	other := h.more(1 << 20)
	h.refused(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, other.Region), other.FD)
	bad := vhostusertest.RingAddr(0, r.Driver.Config())
	bad.Flags = vhostuser.VringFlagLog
	for _, addr := range []uint64{1 << 40, endOfMemory - 100, 1<<64 - 1} {
		bad.Log = addr
		h.refused(vhostuser.SetVringAddr, bad.AppendTo(nil))
	}
	bad.Flags = 2
	h.refused(vhostuser.SetVringAddr, bad.AppendTo(nil))
	// A used ring that was within the log when its address was set, and whose size
	// has grown since.
	grown := vhostusertest.RingAddr(1, h.ring(mem, 1).Driver.Config())
	grown.Flags, grown.Log = vhostuser.VringFlagLog, endOfMemory-100
	h.do(vhostuser.SetVringNum, state(1, 2))
	h.do(vhostuser.SetVringAddr, grown.AppendTo(nil))
	h.do(vhostuser.SetVringNum, state(1, 64))
	h.refused(vhostuser.SetVringKick, noFile(1))
	h.must(h.fe.LogAll(false))
	h.must(h.fe.AddMemory(other))
	if err := h.fe.LogAll(true); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("LOG_ALL: got %v, want a refusal", err)
	}
	h.must(h.fe.RemoveMemory(other))
	h.must(h.fe.LogAll(true))
	pass(t, r)
	large := h.newLog(other.Region.GuestAddr+1<<20, 0)
	h.must(h.fe.SetLogBase(large))
	h.must(h.fe.AddMemory(other))
	h.marked(large, r, false, h.passLogged(r)...)
}

// The front-end truncates the file behind the log: its own session ends.
func TestLogFileIsTruncatedWhileItIsInUse(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, plainProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	l := h.newLog(endOfMemory, 0)
	h.must(h.fe.SetLogBase(l))
	h.must(h.fe.LogAll(true))
	pass(t, r)
	h.must(l.Truncate(0))
	offer(t, r)
	h.must(r.Kick())
	h.endsWith(errGuestMemory)
}

func TestLogFDIsKeptUntilItIsReplaced(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, replyAck)) // the specification does not require LOG_SHMFD
	fds := eventFDs(t, 2)
	h.do(vhostuser.SetLogFD, nil, fds[0])
	before := vhostusertest.OpenFiles(t)
	h.do(vhostuser.SetLogFD, nil, fds[1])
	if n := vhostusertest.OpenFiles(t); n != before {
		t.Errorf("%d file descriptors are open, %d before", n, before)
	}
	h.do(vhostuser.SetLogFD, nil)
	if st := h.dev.session.Load().Snapshot(); st.Log.EventFD != -1 {
		t.Errorf("eventfd is %d", st.Log.EventFD)
	}
	var pipe [2]int
	h.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	h.refused(vhostuser.SetLogFD, nil, pipe[1])
}
