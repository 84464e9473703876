package virtqueue_test

import (
	"fmt"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Memory that its owner takes away while it is in use: the file behind the mapping is truncated,
// and an access raises SIGBUS.

// memfd returns a mapping of n bytes, and its file, which can be truncated.
func memfd(t *testing.T, n int) (fd int, mem []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		t.Fatal(err)
	}
	mem, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	return fd, mem
}

// fault runs f and returns the address at which f faulted, or 0 if it did not.
func fault(t *testing.T, f func()) (addr uintptr) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(interface{ Addr() uintptr })
			if !ok {
				t.Errorf("panic without an address: %v", r)
				return
			}
			addr = e.Addr()
		}
	}()
	f()
	return 0
}

// vanishing returns a guest whose rings are in a separate file, and a function that
// truncates the file.
func vanishing(t *testing.T, features uint64) (g *guest, truncate func()) {
	t.Helper()
	fd, mem := memfd(t, 0x4000)
	cfg, _ := virtqueuetest.Layout(64, ringsAt)
	cfg.Features = features
	drv, err := virtqueuetest.New([]virtqueue.Region{
		{GuestAddr: ringsAt, UserAddr: ringsAt, Mem: mem},
		region(0x1000, 0x1000),
	}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, drv), func() {
		if err := unix.Ftruncate(fd, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSetupInVanishedMemory(t *testing.T) {
	for _, features := range []uint64{eventIdx, packed} {
		g, truncate := vanishing(t, features)
		truncate()
		if q, err := virtqueue.New(g.Memory(), g.Config()); err == nil {
			t.Fatal("set up", q)
		}
	}
}

// Every method that accesses the rings faults, at an address that is in the guest's memory.
func TestRingsVanish(t *testing.T) {
	for _, features := range []uint64{eventIdx, packed | eventIdx, packed | inOrder} {
		for name, use := range map[string]func(g *guest, c *virtqueue.Chain){
			"Available": func(g *guest, _ *virtqueue.Chain) { g.q.Available() },
			"Pop":       func(g *guest, _ *virtqueue.Chain) { g.q.Pop(g.b, 64) },
			"Flush":     func(g *guest, c *virtqueue.Chain) { g.q.Complete(c, 0); g.q.Flush() },
			"Arm":       func(g *guest, _ *virtqueue.Chain) { g.q.Arm() },
			"Disarm":    func(g *guest, _ *virtqueue.Chain) { g.q.Disarm() },
		} {
			if name == "Disarm" && features&packed == 0 {
				continue // with EVENT_IDX it has nothing to write
			}
			t.Run(fmt.Sprintf("features=%#x/%s", features, name), func(t *testing.T) {
				g, truncate := vanishing(t, features)
				cycle := func(g *guest) {
					t.Helper()
					must(g.AddChain([]buf{{Addr: 0x1000, Len: 8}}, nil))
					g.Publish()
					c := g.pop(t, 1)[0]
					if c.Err != nil {
						t.Fatal(c.Err)
					}
					g.completes(t, c)
				}
				cycle(g)
				before, c := g.q.LastAvail(), virtqueue.Chain{}
				if name == "Flush" {
					must(g.AddChain([]buf{{Addr: 0x1000, Len: 8}}, nil))
					g.Publish()
					c = g.pop(t, 1)[0]
				}
				truncate()
				addr := fault(t, func() { use(g, &c) })
				if addr == 0 || !g.Memory().Contains(addr) {
					t.Fatalf("fault at %#x", addr)
				}
				// With valid memory a new queue begins where this one was.
				cfg := g.Config()
				cfg.Base = uint32(before)
				fresh, err := virtqueuetest.New([]virtqueue.Region{region(ringsAt, 0x4000), region(0x1000, 0x1000)}, cfg)
				if err != nil {
					t.Fatal(err)
				}
				cycle(start(t, fresh))
				if name == "Flush" {
					return // some of the operation may be done, some not
				}
				// This queue continues when it is given valid memory.
				fresh.Abandon(before)
				if err := g.q.SetMemory(fresh.Memory()); err != nil {
					t.Fatal(err)
				}
				cycle(&guest{fresh, g.q, g.b})
			})
		}
	}
}

// An indirect table, which is copied, may vanish as well.
func TestIndirectTableVanishes(t *testing.T) {
	fd, mem := memfd(t, 0x1000)
	g := newGuestWith(t, 8, indirect, virtqueue.Region{GuestAddr: 0x1000, UserAddr: 0x1000, Mem: mem})
	g.SetDesc(0, desc{0x1800, 64, flagIndirect, 0})
	g.Offer(0)
	g.Publish()
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := fault(t, func() { g.q.Pop(g.b, 64) })
	if addr == 0 || !g.Memory().Contains(addr) {
		t.Fatalf("fault at %#x", addr)
	}
	if len(g.b.Chains) != 0 || g.q.LastAvail() != 0 {
		t.Fatal("part of a batch was popped")
	}
}

func TestMemoryContains(t *testing.T) {
	_, a := memfd(t, 0x1000)
	_, b := memfd(t, 0x3000)
	m, err := virtqueue.NewMemory([]virtqueue.Region{{GuestAddr: 0x9000, Mem: a}, {GuestAddr: 0, Mem: b[0x1000:0x2000]}})
	if err != nil {
		t.Fatal(err)
	}
	// The addresses come from real faults.
	touch := func(p []byte, i int) uintptr {
		if err := unix.Mprotect(p, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
		defer unix.Mprotect(p, unix.PROT_READ|unix.PROT_WRITE)
		return fault(t, func() { p[i] = 1 })
	}
	for _, c := range []struct {
		p    []byte
		i    int
		want bool
	}{
		{a, 0, true}, {a, 0xfff, true},
		{b, 0, false}, {b, 0xfff, false}, {b, 0x1000, true}, {b, 0x1fff, true}, {b, 0x2000, false},
	} {
		addr := touch(c.p, c.i)
		if addr == 0 || m.Contains(addr) != c.want {
			t.Errorf("byte %#x of %d at %#x: contained is %t", c.i, len(c.p), addr, !c.want)
		}
	}
	if m.Contains(0) {
		t.Error("contains nil")
	}
}
