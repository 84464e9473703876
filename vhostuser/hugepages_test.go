package vhostuser_test

import (
	"errors"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// touch writes to the first byte of mem, and returns the address of the fault, if there is one.
func touch(mem []byte) (addr uintptr, faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			addr, faulted = r.(interface{ Addr() uintptr }).Addr(), true
		}
	}()
	mem[0]++
	return 0, false
}

// hoardHugePages takes all free huge pages of the machine, until the test ends.
func hoardHugePages(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("hoard", unix.MFD_CLOEXEC|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Fallocate(fd, 0, 0, int64(n)*vhostusertest.HugePage); err != nil {
		t.Fatal(err)
	}
}

// serveHuge shares n absent huge pages, and returns them as mapped by the front-end and
// by the back-end.
func serveHuge(t *testing.T, n int, reserve bool) (h *harness, mem *vhostusertest.Memory, mapped []byte) {
	t.Helper()
	h, mems := serveRegions(t, 1, n, reserve)
	return h, mems[0], h.dev.session.Load().Mapped(0)
}

// serveRegions shares regions, each of n absent huge pages.
func serveRegions(t *testing.T, regions, n int, reserve bool) (h *harness, mems []*vhostusertest.Memory) {
	t.Helper()
	dev := newDevice(2)
	h = serveWith(t, dev, dev, vhostuser.Options{WatchHugePages: true})
	h.must(h.fe.Handshake(allVirtio, plainProto))
	for range regions {
		mem, err := h.fe.NewHugeMemory(n, reserve)
		h.must(err)
		mems = append(mems, mem)
	}
	h.must(h.fe.ShareMemory())
	_, err := h.fe.GetU64(vhostuser.GetFeatures) // answered once the memory is mapped
	h.must(err)
	return h, mems
}

func (h *harness) pages(m *vhostusertest.Memory) int {
	h.t.Helper()
	n, err := m.HugePages()
	h.must(err)
	return n
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(vhostusertest.Timeout); !cond(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// An access to an absent page is a fault that does not provide the page. The session provides it on
// request, each time that the page is removed.
func TestAbsentHugePageIsAFault(t *testing.T) {
	vhostusertest.NeedHugePages(t, 8)
	h, mem, mapped := serveHuge(t, 4, false)
	s := h.dev.session.Load()
	for range 3 {
		addr, faulted := touch(mapped[2*vhostusertest.HugePage+5:])
		if n := h.pages(mem); !faulted || n != 0 {
			t.Fatalf("fault: %v, and %d pages are present", faulted, n)
		}
		if !s.Absent(addr) {
			t.Fatal("the page is not said to be absent")
		}
		eventually(t, "the page is there", func() bool { _, faulted := touch(mapped[2*vhostusertest.HugePage+5:]); return !faulted })
		if n := h.pages(mem); n != 1 {
			t.Errorf("%d pages are present, but only one was requested", n)
		}
		h.must(mem.Punch())
	}
	if s.Absent(vhostuser.Address(make([]byte, 1))) {
		t.Error("memory that is not the front-end's is said to be absent")
	}
}

// A page that cannot be provided ends the session: its file has been truncated, or the
// machine has none left.
func TestHugePageThatCannotBeHad(t *testing.T) {
	for name, take := range map[string]func(h *harness, m *vhostusertest.Memory){
		"behind the end of the file": func(h *harness, m *vhostusertest.Memory) { h.must(m.Truncate(0)) },
		"none left": func(h *harness, m *vhostusertest.Memory) {
			hoardHugePages(h.t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			vhostusertest.NeedHugePages(t, 8)
			h, mem, mapped := serveHuge(t, 4, false)
			take(h, mem)
			addr, faulted := touch(mapped[vhostusertest.HugePage:])
			if !faulted || !h.dev.session.Load().Absent(addr) {
				t.Fatalf("fault: %v", faulted)
			}
			if err := h.wait(); !errors.Is(err, vhostuser.ErrNoHugePage) {
				t.Errorf("the session ends with %v", err)
			}
		})
	}
}

// Pages that the kernel has reserved for the guest are present before they are used.
func TestReservedHugePagesAreProvidedAhead(t *testing.T) {
	vhostusertest.NeedHugePages(t, 16)
	h, mem, mapped := serveHuge(t, 12, true)
	eventually(t, "all pages are present", func() bool { return h.pages(mem) == 12 })
	if _, faulted := touch(mapped[11*vhostusertest.HugePage:]); faulted {
		t.Error("the last page is absent")
	}
}

// Reserved pages of several mappings are provided by one thread, one mapping after another.
func TestReservedHugePagesTakeTurns(t *testing.T) {
	const regions, pages = 4, 12
	vhostusertest.NeedHugePages(t, regions*pages)
	h, mems := serveRegions(t, regions, pages, true)
	eventually(t, "all pages are present", func() bool {
		full := true
		var present [regions]int
		for i := regions - 1; i >= 0; i-- { // so that earlier ones are looked at later
			present[i] = h.pages(mems[i])
			full = full && present[i] == pages
		}
		for i := range regions - 1 {
			if present[i+1] > 0 && present[i] < pages {
				t.Fatalf("pages that are present in each region: %v", present)
			}
		}
		return full
	})
}

// The pages of a region that is removed are not provided any more. Those of the others are.
func TestReservedHugePagesOfARegionThatIsRemoved(t *testing.T) {
	const regions, pages = 3, 12
	vhostusertest.NeedHugePages(t, regions*pages)
	h, mems := serveRegions(t, regions, pages, true)
	h.must(h.fe.RemoveMemory(mems[0])) // has probably begun
	left := h.pages(mems[0])
	h.must(h.fe.RemoveMemory(mems[1])) // waits for its turn
	eventually(t, "all pages of the last region are present", func() bool { return h.pages(mems[2]) == pages })
	if n := h.pages(mems[0]); n != left {
		t.Errorf("%d pages were provided after the region was removed", n-left)
	}
	s := h.dev.session.Load()
	if _, faulted := touch(s.Mapped(0)[(pages-1)*vhostusertest.HugePage:]); faulted {
		t.Error("the last page is absent")
	}
}

// Each of several regions is provided with the pages that are requested.
func TestAbsentHugePagesOfSeveralRegions(t *testing.T) {
	const regions, pages = 3, 2
	vhostusertest.NeedHugePages(t, 8)
	h, mems := serveRegions(t, regions, pages, false)
	s := h.dev.session.Load()
	for i, mem := range mems {
		last := s.Mapped(i)[(pages-1)*vhostusertest.HugePage:]
		if addr, faulted := touch(last); !faulted || !s.Absent(addr) {
			t.Fatalf("region %d: fault: %v", i, faulted)
		}
		eventually(t, "the page is there", func() bool { _, faulted := touch(last); return !faulted })
		if n := h.pages(mem); n != 1 {
			t.Errorf("region %d: %d pages are present", i, n)
		}
	}
}

// A ring may be in huge pages that were never touched.
func TestRingInAbsentHugePages(t *testing.T) {
	vhostusertest.NeedHugePages(t, 8)
	h, mem, _ := serveHuge(t, 4, false)
	r := h.ring(mem, 0)
	h.must(mem.Punch())
	h.must(h.fe.StartRing(r))
	if n := h.pages(mem); n != 1 || !h.dev.session.Load().Snapshot().Vrings[0].Running {
		t.Errorf("%d pages are present, and vring 0 is %+v", n, h.vring(0))
	}
}

// Without the option the kernel provides pages at the access, as for any other device.
func TestHugePagesAreNotWatchedUnlessAskedFor(t *testing.T) {
	vhostusertest.NeedHugePages(t, 8)
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, plainProto))
	mem, err := h.fe.NewHugeMemory(4, false)
	h.must(err)
	h.must(h.fe.ShareMemory())
	_, err = h.fe.GetU64(vhostuser.GetFeatures) // answered once the memory is mapped
	h.must(err)
	s := h.dev.session.Load()
	if addr, faulted := touch(s.Mapped(0)); faulted || s.Absent(addr) {
		t.Errorf("fault: %v", faulted)
	}
	if n := h.pages(mem); n != 1 {
		t.Errorf("%d pages are present", n)
	}
}
