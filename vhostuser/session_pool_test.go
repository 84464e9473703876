package vhostuser_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

const mib = 1 << 20

// serveLimited starts a session whose front-end may map the given number of bytes, in a process
// that has the given capacity. At the session's end no resources may be in use.
func serveLimited(t *testing.T, c vhostuser.Capacity, memory uint64) (*harness, *vhostuser.Account) {
	t.Helper()
	dev := newDevice(2)
	a := vhostuser.NewPool(c).Open(vhostuser.Limits{Memory: memory, MemoryName: "max_memory", Vrings: 2})
	t.Cleanup(func() {
		if n := a.Use().Memory; n != 0 {
			t.Errorf("after the session, %d bytes are in use", n)
		}
		a.Close()
	})
	return serveWith(t, dev, dev, vhostuser.Options{Account: a}), a
}

var ample = vhostuser.Capacity{AddressSpace: 1 << 47, Mappings: 65530, FileDescriptors: 1 << 16}

func addRegion(addr, size uint64) []byte {
	return vhostuser.AppendSingleRegion(nil, vhostuser.MemRegion{GuestAddr: addr, UserAddr: addr, Size: size})
}

// sparse makes a file that takes no memory.
func sparse(t *testing.T, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("sparse", unix.MFD_CLOEXEC)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Ftruncate(fd, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Guest memory, log and record of descriptors in flight count together, and unmapped memory no
// longer counts. A refusal leaves the session as it was.
func TestFrontEndsMemoryIsLimited(t *testing.T) {
	h, a := serveLimited(t, ample, 64*mib)
	mem := h.negotiate(allVirtio, everyProto) // 16 MiB
	h.must(h.fe.StartRing(h.ring(mem, 0)))
	fd := sparse(t, 1<<40)
	const at = 1 << 45
	uses := func(want uint64) {
		t.Helper()
		if got := a.Use().Memory; got != want*mib {
			t.Errorf("%d bytes are in use, want %d MiB", got, want)
		}
	}
	uses(16)
	h.refused(vhostuser.AddMemReg, addRegion(at, 1<<39), fd)
	h.refused(vhostuser.AddMemReg, addRegion(at, 49*mib), fd)
	uses(16)
	h.do(vhostuser.AddMemReg, addRegion(at, 40*mib), fd)
	uses(56)
	h.refused(vhostuser.AddMemReg, addRegion(at+1<<30, 9*mib), fd)
	h.do(vhostuser.RemMemReg, addRegion(at, 40*mib))
	uses(16)
	pass(t, h.fe.Rings[0])

	l := h.newLog(1<<42, 0) // 2^42 / 2^15 bytes: 128 MiB
	if err := h.fe.SetLogBase(l); err == nil {
		t.Error("a log of 128 MiB was accepted")
	}
	if err := h.wait(); !errors.Is(err, vhostuser.ErrLimit) || !strings.Contains(err.Error(), "max_memory is 64 MiB") {
		t.Errorf("session ended with %v", err)
	}
}

func TestLogAndRecordAreCounted(t *testing.T) {
	h, a := serveLimited(t, ample, 64*mib)
	h.negotiate(allVirtio, everyProto)
	log := h.newLog(1<<40, 0) // 32 MiB
	h.must(h.fe.SetLogBase(log))
	h.must(h.fe.SetLogBase(log)) // replaces the previous one
	in := h.getInflight(2, 32768)
	h.must(h.fe.SetInflight(in))
	h.must(h.fe.SetInflight(in))
	if got := a.Use().Memory; got < 49*mib || got > 50*mib {
		t.Errorf("%d bytes are in use", got)
	}
	h.refused(vhostuser.AddMemReg, addRegion(1<<45, 15*mib), sparse(t, 15*mib))
	huge := in.Inflight
	huge.Size = 17 * mib
	h.refused(vhostuser.SetInflightFD, append(huge.AppendTo(nil), 0, 0, 0, 0), sparse(t, 17*mib))
}

// A table that replaces another one may be as large, although both are mapped for a moment.
func TestTableReplacesTable(t *testing.T) {
	h, a := serveLimited(t, ample, 20*mib)
	h.negotiate(allVirtio, allProto)
	for range 3 {
		h.must(h.fe.SetMemTable(h.more(20 * mib)))
		if got := a.Use().Memory; got != 20*mib {
			t.Errorf("%d bytes are in use", got)
		}
	}
	if err := h.fe.SetMemTable(h.more(8*mib), h.more(13*mib)); err == nil {
		t.Error("a table of 21 MiB was accepted")
	}
	// Kept regions count, wherever in the table they are.
	last := h.fe.Memory[3]
	if err := h.fe.SetMemTable(h.more(mib), last); err == nil {
		t.Error("a table of 21 MiB was accepted")
	}
}

// A front-end has as many slots as the reply to GET_MAX_MEM_SLOTS says.
func TestSlotsAreLimited(t *testing.T) {
	few := ample
	few.Mappings = 64 // 56 for front-ends, of which 12 are not for slots
	h, _ := serveLimited(t, few, 1<<40)
	h.must(h.fe.Handshake(allVirtio, allProto))
	n, err := h.fe.GetU64(vhostuser.GetMaxMemSlots)
	h.must(err)
	if n < 8 || n > 44 {
		t.Fatalf("%d slots", n)
	}
	fd := sparse(t, mib)
	for i := range n {
		h.do(vhostuser.AddMemReg, addRegion(i<<30, mib), fd)
	}
	h.refused(vhostuser.AddMemReg, addRegion(1<<45, mib), fd)
	h.do(vhostuser.RemMemReg, addRegion(0, mib))
	h.do(vhostuser.AddMemReg, addRegion(1<<45, mib), fd)
}

// A session for which no file descriptors are left ends with an error.
func TestSessionNeedsFileDescriptors(t *testing.T) {
	few := ample
	few.FileDescriptors = 70
	h, _ := serveLimited(t, few, 1<<40)
	if err := h.wait(); !errors.Is(err, vhostuser.ErrLimit) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("session ended with %v", err)
	}
}
