package vhostuser_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// more makes another piece of the front-end's memory.
func (h *harness) more(size int) *vhostusertest.Memory {
	h.t.Helper()
	m, err := h.fe.NewMemory(size)
	h.must(err)
	return m
}

func TestMemoryChangesWhileRingsRun(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	rx, tx := h.ring(mem, 0), h.ring(mem, 1)
	h.must(h.fe.StartRing(rx))
	h.must(h.fe.StartRing(tx))
	other := h.more(1 << 20)
	for range 20 {
		offer(t, rx)
		h.must(rx.Kick())
		h.must(h.fe.AddMemory(other))
		expectUsed(t, rx)
		pass(t, tx)
		offer(t, tx)
		h.must(tx.Kick())
		h.must(h.fe.RemoveMemory(other))
		expectUsed(t, tx)
		pass(t, rx)
	}
	if got := h.dev.events.String(); strings.Count(got, "stopped") > 0 || strings.Count(got, "quiesce") != 40 {
		t.Errorf("rings were stopped, or the device was not quiesced 40 times: %s", got)
	}
}

func TestMemTableIsSentAgainWhileRingsRun(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, mq|replyAck)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	maps := vhostusertest.Mapped(t, "guest memory")
	other := h.more(1 << 20)
	for range 20 {
		h.must(h.fe.SetMemTable(mem, other))
		pass(t, r)
		h.must(h.fe.SetMemTable(mem))
		pass(t, r)
	}
	if n := vhostusertest.Mapped(t, "guest memory"); n != maps+1 { // one is the front-end's mapping of other
		t.Errorf("%d mappings of guest memory, want %d", n, maps+1)
	}
}

// The same addresses in another file are other memory: pages of the old file must not be used any
// more.
func TestMemTableWithOtherFileAtSameAddress(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, replyAck)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	copied := h.more(int(mem.Region.Size))
	copied.Region = mem.Region
	copy(copied.Bytes, mem.Bytes)
	h.must(h.fe.SetMemTable(copied))
	offer(t, r)
	r.Driver.Arm()
	copy(copied.Bytes, mem.Bytes)
	h.must(r.Kick())
	h.must(r.WaitCall())
	if _, used := r.Driver.Used(); used != 1 {
		t.Errorf("used index in the memory that was replaced is %d, want 1", used)
	}
}

func TestRingIsSuspendedWhileItsMemoryIsGone(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	other := h.more(1 << 20)
	h.must(h.fe.AddMemory(other))
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.must(h.fe.RemoveMemory(mem))
	if v := h.vring(0); !v.Started || v.Running || v.Base != 1 {
		t.Errorf("ring without memory is %+v", v)
	}
	offer(t, r)
	h.must(h.fe.AddMemory(mem))
	expectUsed(t, r) // without a kick
}

func TestStopWhileMemoryIsGone(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.must(h.fe.RemoveMemory(mem))
	if base, err := h.fe.StopRing(r); err != nil || base != 1 {
		t.Errorf("base %d, %v", base, err)
	}
	h.must(h.fe.AddMemory(mem))
	if v := h.vring(0); v.Started || v.Running {
		t.Errorf("ring that was stopped is %+v", v)
	}
}

func TestRepeatedAddMemRegIsCounted(t *testing.T) {
	h := serve(t, newDevice(4))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	before := h.dev.events.String()
	h.must(h.fe.AddMemory(mem)) // for the second queue pair
	h.must(h.fe.RemoveMemory(mem))
	pass(t, r)
	if after := h.dev.events.String(); after != before {
		t.Errorf("the device was quiesced or stopped: %s", strings.TrimPrefix(after, before))
	}
	h.must(h.fe.RemoveMemory(mem))
	if st := h.dev.session.Load().Snapshot(); len(st.Regions) != 0 {
		t.Errorf("regions are left: %+v", st.Regions)
	}
	if err := h.fe.RemoveMemory(mem); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("removing it once more: %v", err)
	}
}

func TestRemMemRegWithDescriptor(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	h.do(vhostuser.RemMemReg, vhostuser.AppendSingleRegion(nil, mem.Region), mem.FD)
}

func TestBadMemory(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	other := h.more(1 << 20)
	good := other.Region
	var pipe [2]int
	h.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	proc, err := unix.Open("/proc/self/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	h.must(err)
	defer unix.Close(proc)

	for name, c := range map[string]struct {
		fd     int
		change func(r *vhostuser.MemRegion)
	}{
		"size 0":                  {other.FD, func(r *vhostuser.MemRegion) { r.Size = 0 }},
		"beyond the file":         {other.FD, func(r *vhostuser.MemRegion) { r.Size++ }},
		"offset beyond the file":  {other.FD, func(r *vhostuser.MemRegion) { r.MmapOffset = 1 << 20 }},
		"offset overflows":        {other.FD, func(r *vhostuser.MemRegion) { r.MmapOffset = 1<<64 - 4096 }},
		"offset+size overflows":   {other.FD, func(r *vhostuser.MemRegion) { r.MmapOffset = 1<<63 - 4096 }},
		"size overflows":          {other.FD, func(r *vhostuser.MemRegion) { r.Size = 1<<64 - 1; r.GuestAddr = 0; r.UserAddr = 0 }},
		"guest address wraps":     {other.FD, func(r *vhostuser.MemRegion) { r.GuestAddr = 1<<64 - 4096 }},
		"user address wraps":      {other.FD, func(r *vhostuser.MemRegion) { r.UserAddr = 1<<64 - 4096 }},
		"guest addresses overlap": {other.FD, func(r *vhostuser.MemRegion) { r.GuestAddr = mem.Region.GuestAddr + 4096 }},
		"user addresses overlap":  {other.FD, func(r *vhostuser.MemRegion) { r.UserAddr = mem.Region.UserAddr - 4096 }},
		"a pipe":                  {pipe[0], func(r *vhostuser.MemRegion) {}},
		"a file of procfs":        {proc, func(r *vhostuser.MemRegion) {}},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			c.change(&r)
			before := vhostusertest.Mapped(t, "guest memory")
			if err := h.fe.Do(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, r), c.fd); !errors.Is(err, vhostusertest.ErrNack) {
				t.Errorf("ADD_MEM_REG: got %v, want a refusal", err)
			}
			table := vhostuser.AppendMemTable(nil, []vhostuser.MemRegion{mem.Region, r})
			if err := h.fe.Do(vhostuser.SetMemTable, table, mem.FD, c.fd); !errors.Is(err, vhostusertest.ErrNack) {
				t.Errorf("SET_MEM_TABLE: got %v, want a refusal", err)
			}
			if n := vhostusertest.Mapped(t, "guest memory"); n != before {
				t.Errorf("%d mappings of guest memory, were %d", n, before)
			}
		})
	}
	if st := h.dev.session.Load().Snapshot(); len(st.Regions) != 1 {
		t.Errorf("regions are %+v, want the first alone", st.Regions)
	}
	nine := make([]vhostuser.MemRegion, 9)
	h.refused(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, nine)[:264], mem.FD)
	h.refused(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, nine[:2])[:40], mem.FD, mem.FD)
	h.refused(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, nine[:2]), mem.FD)
	h.refused(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, good))
}

func TestMemoryAtUnalignedOffset(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	mem := h.more(1 << 20)
	// A view of the file that begins and ends within a page.
	const off = 4096 + 512
	view := *mem
	view.Region.MmapOffset = off
	view.Region.Size = 256<<10 + 512
	view.Bytes = mem.Bytes[off : off+view.Region.Size]
	h.fe.Memory[0] = &view
	h.must(h.fe.ShareMemory())
	r := h.ring(&view, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.fe.Memory[0] = mem
}

func TestNoMoreRegionsThanSlots(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, allProto))
	mem := h.more(4096)
	add := func(i int) error {
		m := *mem
		m.Region.GuestAddr += uint64(i) << 20
		m.Region.UserAddr += uint64(i) << 20
		return h.fe.AddMemory(&m)
	}
	for i := range virtqueue.MaxRegions {
		h.must(add(i))
	}
	if err := add(virtqueue.MaxRegions); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("one more: %v", err)
	}
}

func TestMemoryFileIsTruncatedWhileRingsRun(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(h.fe.StartRing(r))
	pass(t, r)
	h.must(mem.Truncate(0))
	h.must(r.Kick())
	if err := h.wait(); !errors.Is(err, errGuestMemory) {
		t.Errorf("session ended with %v", err)
	}
}

func TestRingIsStartedInTruncatedMemory(t *testing.T) {
	h := serve(t, newDevice(2))
	mem := h.negotiate(allVirtio, allProto)
	r := h.ring(mem, 0)
	h.must(mem.Truncate(0))
	if err := h.fe.StartRing(r); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("got %v, want a refusal", err)
	}
}
